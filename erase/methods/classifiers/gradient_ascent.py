"""Gradient ascent on the forget set (GA): reverse training (Thudi et al., EuroS&P 2022; Graves et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod, norms_option
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


RELEASED = Released(
    both={"learning_rate": 1e-4, "forget_norms": "batch"},
    datasets={"celeba": {"epochs": 3}},
    shares={"cifar100": {"50": {"epochs": 10}}},
)


@dataclass(frozen=True)
class GradientAscent(SGDMethod):
    """Ascend the training loss on forget batches; the retain set is never used, and the ascent is unbounded."""

    epochs: int = option(5, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "learning rate", above=0.0)

    forget_norms: str = norms_option()

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; Diverged once the loss is not finite."""
        from erase.training.sgd_loop import descend, forget_only

        running = self.forget_norms == "running"  # `task.unlearn` has the running statistics

        def ascent(i: int) -> Tensor:
            return task.unlearn(task.network, task.forget(i)) if running else -task.loss(task.network, task.forget(i))

        objective = forget_only(ascent)
        steps = self.epochs * task.epoch_forget
        yield from descend(task, objective, steps, method="gradient_ascent", optimizer=self.optimizer, resume=resume)
