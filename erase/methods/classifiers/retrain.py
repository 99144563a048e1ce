"""Retraining from scratch without the forget set: the exact answer that every other method is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask
from erase.errors import InputError
from erase.options import check, option
from erase.task import Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class Retrain:
    """Train a fresh network on retain batches alone, by the recipe that made the original (Retrain)."""

    epochs: int = option(60, "epochs over the retain set", low=1)
    learning_rate: float = option(0.1, "step size at the start; it falls to 0 along half a cosine", above=0.0)
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"epochs": 182},
        "cifar100": {"epochs": 160},
        "svhn": {"epochs": 50},
        "celeba": {"epochs": 10, "learning_rate": 1e-3},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Put fresh weights and buffers into `task.network` and train them; a Step after each optimizer step."""
        if task.fresh is None:
            raise InputError("retraining starts from an untrained network and none was given; give fresh, a function that builds one")
        if len(task.weights) != len(list(task.network.parameters())):
            raise InputError("retraining trains every weight; expected the scope full, and got a part of the network")
        task.network.load_state_dict(task.fresh().state_dict())

        def objective(i: int) -> tuple[Tensor, Tensor]:
            loss = task.loss(task.network, task.retain(i))
            return loss, torch.zeros_like(loss)

        steps = self.epochs * task.epoch_retain
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, cosine=True)
        yield from descend(task, objective, steps, method="retrain", optimizer=optimizer, resume=resume)
