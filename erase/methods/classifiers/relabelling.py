"""What the methods that teach wrong labels have in common: their options, and the objective L_r + w L_f'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.sgd_method import SGDMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.training.sgd_loop import Objective


@dataclass(frozen=True)
class RelabellingMethod(SGDMethod):
    """A classifier method that trains on forget samples with random wrong labels beside the retain set."""

    epochs: int = option(10, "epochs over the retain set, each of which passes once over the forget set", low=1)
    forget_weight: float | None = option(
        None,
        "weight of the forget loss with wrong labels relative to the retain loss; by default n_f / n_r, so that every sample has the "
        "same weight",
        low=0.0,
    )

    presets: ClassVar[Presets] = {
        "balanced": {},
        "cifar10": {"learning_rate": 5e-3},
        "cifar100": {"learning_rate": 5e-3},
        "svhn": {"learning_rate": 5e-3},
        "celeba": {"epochs": 5, "learning_rate": 3e-3},
    }

    def objective(self, task: ClassifierTask) -> Objective:
        """The two losses of a step, from one pass over a retain batch and a relabelled forget batch."""
        from erase.classifiers.task import mixed, relabelled

        forget = relabelled(task)
        weight = task.forget_size / task.retain_size if self.forget_weight is None else self.forget_weight

        def losses(i: int) -> tuple[Tensor, Tensor]:
            retain_loss, forget_loss = mixed(task, task.retain(i), forget(i))
            return retain_loss, weight * forget_loss

        return losses
