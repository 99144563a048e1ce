"""Retraining from scratch without the forget set (Retrain): the exact solution that every other method is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import ClassifierMethod, Presets
from erase.methods.classifiers.released import Released
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


@dataclass(frozen=True)
class Retrain(ClassifierMethod):
    """Train a fresh network on retain batches alone, with the recipe that trained the original."""

    epochs: int = option(60, "epochs over the retain set", low=1)
    learning_rate: float = option(0.1, "initial learning rate", above=0.0)
    momentum: float = option(0.9, "SGD momentum", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "weight decay", low=0.0)
    cosine: bool = option(True, "decay the learning rate to zero with a cosine schedule; otherwise it is constant", added_in="0.1.1")

    presets: ClassVar[Presets] = Released(
        datasets={
            "cifar10": {"epochs": 182},
            "cifar100": {"epochs": 160},
            "svhn": {"epochs": 50},
            "celeba": {"epochs": 10, "learning_rate": 1e-3, "cosine": False},
        }
    ).presets()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Load fresh weights and buffers into `task.network` and train them; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.sgd_loop import descend, retain_only

        if task.fresh is None:
            raise InputError("retraining starts from an untrained network, and there is none; give fresh, a function that builds one")
        if len(task.weights) != len(list(task.network.parameters())):
            raise InputError("retraining trains every weight; expected the scope full, got a part of the network")
        task.network.load_state_dict(task.fresh().state_dict())
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        steps = self.epochs * task.epoch_retain
        yield from descend(task, retain_only(task), steps, method="retrain", optimizer=optimizer, resume=resume)
