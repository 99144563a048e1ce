"""l1-sparse (Jia et al., NeurIPS 2023): fine-tune on the retain set under a pull towards sparse weights that fades out."""

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
class L1Sparse:
    """Descend L_r + gamma_t ||w||_1 (its Eq. 3), with the subgradient gamma_t sign(w), 0 at 0; biases and gains count, too."""

    epochs: int = option(10, "epochs over the retain set", low=1)
    learning_rate: float = option(0.01, "step size", above=0.0)
    l1: float = option(1e-4, "gamma: weight of the absolute values of all weights", low=0.0)
    schedule: str = option(
        "decreasing",
        "gamma over the epochs: from gamma down towards 0 (the paper's choice), constant, or up to gamma",
        choices=("decreasing", "constant", "increasing"),
    )
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0, beside that of l1", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 0.01, "l1": 1e-4},
        "cifar100": {"learning_rate": 0.01, "l1": 1e-4},
        "svhn": {"learning_rate": 0.01, "l1": 1e-4},
        "celeba": {"epochs": 3, "learning_rate": 1e-3, "l1": 1e-3},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on retain batches; a Step after each optimizer step."""

        def objective(i: int) -> tuple[Tensor, Tensor]:
            size = torch.stack([weight.abs().sum() for weight in task.weights.values()]).sum()
            return task.loss(task.network, task.retain(i)), self.gamma(i // task.epoch_retain) * size

        steps = self.epochs * task.epoch_retain
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="l1_sparse", optimizer=optimizer, resume=resume)

    def gamma(self, epoch: int) -> float:
        """gamma_t of an epoch, from 0."""
        share = {"decreasing": 1 - epoch / self.epochs, "constant": 1.0, "increasing": (epoch + 1) / self.epochs}
        return self.l1 * share[self.schedule]
