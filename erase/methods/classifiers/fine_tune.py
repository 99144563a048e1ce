"""Fine-tuning on the retain set alone (FT), in the hope that what is not rehearsed fades (Warnecke et al., NDSS 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask
from erase.options import check, option
from erase.task import Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class FineTune:
    """Go on training on retain batches; the forget set is never looked at."""

    epochs: int = option(10, "epochs over the retain set", low=1)
    learning_rate: float = option(0.01, "step size", above=0.0)
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 0.01},
        "cifar100": {"learning_rate": 0.01},
        "svhn": {"learning_rate": 0.01},
        "celeba": {"epochs": 5, "learning_rate": 1e-4},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on retain batches; a Step after each optimizer step."""

        def objective(i: int) -> tuple[Tensor, Tensor]:
            loss = task.loss(task.network, task.retain(i))
            return loss, torch.zeros_like(loss)

        steps = self.epochs * task.epoch_retain
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="fine_tune", optimizer=optimizer, resume=resume)
