"""Boundary shrink (BS; Chen et al., CVPR 2023): move each forget sample to the class across its nearest decision boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask, by_row, forgotten
from erase.options import check, option
from erase.task import Batch, Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class BoundaryShrink:
    """Label every forget sample with the wrong class that one FGSM step finds nearest in the original; train on these labels.

    Its Eqs. 3 to 5: x' = x + bound sign(dL/dx), y' = argmax of the original's scores at x' over the wrong classes. (Where the
    step crosses no boundary the paper's text has no answer and published code keeps the true label; here it is the
    runner-up, so that every label is wrong.)
    """

    bound: float = option(0.1, "length of the FGSM step, in units of the input", above=0.0)
    epochs: int = option(10, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "step size", above=0.0)
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 1e-6},
        "cifar100": {"learning_rate": 1e-6},
        "svhn": {"learning_rate": 1e-6},
        "celeba": {"epochs": 5, "learning_rate": 1e-5},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; it is the original, also when resuming. A Step after each optimizer step."""
        nearest, loss = self.nearest(task), forgotten(task.loss)

        def objective(i: int) -> tuple[Tensor, Tensor]:
            batch = task.forget(i)
            taught = loss(task.network, {**batch, "y": nearest[batch["row"]]})
            return torch.zeros_like(taught), taught

        steps = self.epochs * task.epoch_forget
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="boundary_shrink", optimizer=optimizer, resume=resume)

    def nearest(self, task: ClassifierTask) -> Tensor:
        """For every forget row the nearest wrong class, as the network has it now."""

        def across(batch: Batch) -> Tensor:
            x = batch["x"].detach().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(task.loss(task.network, {**batch, "x": x}), x)
            with torch.no_grad():
                scores: Tensor = task.network(x + self.bound * slope.sign())
                return scores.scatter(1, batch["y"][:, None], -torch.inf).argmax(1)

        return by_row(task, across)
