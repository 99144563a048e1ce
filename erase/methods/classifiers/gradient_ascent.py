"""Gradient ascent on the forget set (GA): undo training by its opposite (Thudi et al., EuroS&P 2022; Graves et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask, forgotten
from erase.options import check, option
from erase.task import Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class GradientAscent:
    """Climb the training loss on forget batches; the retain set is never looked at, and nothing holds the climb back."""

    epochs: int = option(5, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "step size", above=0.0)
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 1e-4},
        "cifar100": {"learning_rate": 1e-4},
        "svhn": {"learning_rate": 1e-4},
        "celeba": {"epochs": 3, "learning_rate": 1e-4},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Ascend in `task.network` in place; Diverged once the loss has no number any more."""
        loss = forgotten(task.loss)

        def objective(i: int) -> tuple[Tensor, Tensor]:
            climbed = -loss(task.network, task.forget(i))
            return torch.zeros_like(climbed), climbed

        steps = self.epochs * task.epoch_forget
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="gradient_ascent", optimizer=optimizer, resume=resume)
