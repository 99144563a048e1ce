"""What the classifier methods that train with SGD have in common: their options, and the optimizer made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from erase.methods.base import ClassifierMethod
from erase.options import option

NORMS = ("running", "batch")


def norms_option() -> Any:
    """The option `forget_norms` of a method with passes over forget batches alone."""
    return option(
        "running",
        "batch norms in passes over forget batches: the running statistics, which stay as they are; or those of the batch, which enter "
        "the running ones (training mode, as in published scripts)",
        choices=NORMS,
        added_in="0.1.1",
    )


if TYPE_CHECKING:
    from erase.training.optimizers import OptimizerConfig


@dataclass(frozen=True)
class SGDMethod(ClassifierMethod):
    """A classifier method that descends one objective with SGD (`erase.training.sgd_loop.descend`)."""

    epochs: int = option(10, "epochs over the retain set", low=1)
    learning_rate: float = option(0.01, "learning rate", above=0.0)
    cosine: bool = option(False, "decay the learning rate to zero with a cosine schedule")
    momentum: float = option(0.9, "SGD momentum", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "weight decay", low=0.0)

    @property
    def optimizer(self) -> OptimizerConfig:
        """SGD with the method's options."""
        from erase.training.optimizers import OptimizerConfig

        return OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
