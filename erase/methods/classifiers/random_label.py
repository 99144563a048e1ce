"""Random labels (RL): teach wrong answers for the forget set while rehearsing the rest (Golatkar et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from erase.classifiers.task import ClassifierTask, mixed, relabelled
from erase.options import check, option
from erase.task import Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class RandomLabel:
    """Descend L_r + w L_f', where L_f' is the loss on forget samples under one random wrong label each."""

    epochs: int = option(10, "epochs over the retain set, each of which passes once over the forget set", low=1)
    learning_rate: float = option(0.01, "step size", above=0.0)
    forget_weight: float | None = option(
        None, "weight of the wrongly labelled forget loss beside the retain loss; by default n_f / n_r, every sample counts alike", low=0.0
    )
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 5e-3},
        "cifar100": {"learning_rate": 5e-3},
        "svhn": {"learning_rate": 5e-3},
        "celeba": {"epochs": 5, "learning_rate": 3e-3},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on both; a Step after each optimizer step."""
        wrong = relabelled(task)

        weight = task.forget_size / task.retain_size if self.forget_weight is None else self.forget_weight

        def objective(i: int) -> tuple[Tensor, Tensor]:
            kept, taught = mixed(task, task.retain(i), wrong(i))
            return kept, weight * taught

        steps = self.epochs * task.epoch_retain
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="random_label", optimizer=optimizer, resume=resume)
