"""What the methods that teach random labels have in common: their options, and the objective of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.training.sgd_loop import Objective

# SalUn's own script takes turns on CIFAR-10 and SVHN; its copy in the script of Scissorhands does so on SVHN alone.
TURNS: dict[str, Any] = {"order": "turns"}

RELEASED = Released(
    both={"labels": "redrawn", "learning_rate": 5e-3},
    datasets={"svhn": TURNS, "celeba": {"epochs": 5, "learning_rate": 3e-3}},
    papers={"cifar10": TURNS},
    shares={
        "cifar10": {"50": {"learning_rate": 5e-2}},
        "cifar100": {"50": {"learning_rate": 1e-2}},
        "svhn": {"class": {"learning_rate": 5e-2}},
    },
)


@dataclass(frozen=True)
class RelabellingMethod(SGDMethod):
    """A classifier method that trains on forget samples with random labels beside the retain set."""

    epochs: int = option(10, "epochs over the retain set, each of which passes once over the forget set", low=1)
    forget_weight: float | None = option(
        None,
        "weight of the forget loss with random labels relative to the retain loss; by default n_f / n_r, so that every sample has the "
        "same weight, and 1 with --order turns",
        low=0.0,
    )
    labels: str = option(
        "wrong",
        "random labels of forget samples: wrong, one for all epochs that is never the true one; or redrawn in each epoch from all "
        "classes, so that some are true",
        choices=("wrong", "redrawn"),
        added_in="0.1.1",
    )
    order: str = option(
        "together",
        "together: a piece of the forget set in every step; turns: in each epoch first the forget set, then the retain set, a step for "
        "each batch of either",
        choices=("together", "turns"),
        added_in="0.1.1",
    )

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def steps(self, task: ClassifierTask) -> int:
        """Steps of all epochs."""
        return self.epochs * (task.epoch_retain + (task.epoch_forget if self.order == "turns" else 0))

    def objective(self, task: ClassifierTask) -> Objective:
        """The two losses of a step."""
        return self._turns(task) if self.order == "turns" else self._together(task)

    def _together(self, task: ClassifierTask) -> Objective:
        """Both losses from one pass over a retain batch and a piece of a relabelled forget batch."""
        from erase.classifiers.task import alongside, mixed, relabelled

        forget = alongside(replace(task, forget=relabelled(task, self.labels)))
        weight = task.forget_size / task.retain_size if self.forget_weight is None else self.forget_weight

        def losses(i: int) -> tuple[Tensor, Tensor]:
            retain_loss, forget_loss = mixed(task, task.retain(i), forget(i))
            return retain_loss, weight * forget_loss

        return losses

    def _turns(self, task: ClassifierTask) -> Objective:
        """The loss on one relabelled forget batch, or on one retain batch."""
        import torch

        from erase.classifiers.task import relabelled

        forget, weight = relabelled(task, self.labels), 1.0 if self.forget_weight is None else self.forget_weight

        def losses(i: int) -> tuple[Tensor, Tensor]:
            epoch, within = divmod(i, task.epoch_forget + task.epoch_retain)
            if within < task.epoch_forget:
                loss = weight * task.loss(task.network, forget(epoch * task.epoch_forget + within))
                return torch.zeros_like(loss), loss
            loss = task.loss(task.network, task.retain(epoch * task.epoch_retain + within - task.epoch_forget))
            return loss, torch.zeros_like(loss)

        return losses
