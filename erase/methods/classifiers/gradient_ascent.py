"""Gradient ascent on the forget set (GA): reverse training (Thudi et al., EuroS&P 2022; Graves et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.sgd_method import SGDMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


@dataclass(frozen=True)
class GradientAscent(SGDMethod):
    """Ascend the training loss on forget batches; the retain set is never used, and the ascent is unbounded."""

    epochs: int = option(5, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "learning rate", above=0.0)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "cifar10": {"learning_rate": 1e-4},
        "cifar100": {"learning_rate": 1e-4},
        "svhn": {"learning_rate": 1e-4},
        "celeba": {"epochs": 3, "learning_rate": 1e-4},
    }

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; Diverged once the loss is not finite."""
        from erase.training.sgd_loop import descend, forget_only

        objective = forget_only(lambda i: task.unlearn(task.network, task.forget(i)))
        steps = self.epochs * task.epoch_forget
        yield from descend(task, objective, steps, method="gradient_ascent", optimizer=self.optimizer, resume=resume)
