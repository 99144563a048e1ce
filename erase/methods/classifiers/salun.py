"""SalUn (Fan et al., ICLR 2024): random labels, but only the weights to which the forget loss is most sensitive may move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask, evaluated, mixed, relabelled
from erase.options import check, option
from erase.task import Step
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend
from erase.trim import fraction_to_k, top_k_mask


@dataclass(frozen=True)
class SalUn:
    """Mask = 1(|grad of the forget loss| >= gamma) (its Eq. 3); then L_f' + alpha L_r under the mask (its Eqs. 4 and 5).

    gamma is the quantile that leaves `fraction` of the weights; 1 / alpha is `forget_weight`. Weights outside the mask stay
    exactly what they were.
    """

    fraction: float = option(0.5, "share of the weights that may change: those with the largest gradients", above=0.0, high=1.0)
    epochs: int = option(10, "epochs over the retain set, each of which passes once over the forget set", low=1)
    learning_rate: float = option(0.01, "step size", above=0.0)
    forget_weight: float | None = option(
        None, "weight of the wrongly labelled forget loss beside the retain loss; by default n_f / n_r, every sample counts alike", low=0.0
    )
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight that may change towards 0", low=0.0)

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
        """Train the masked weights of `task.network` in place; `task.network` is the original, also when resuming."""
        mask, wrong = self.mask(task), relabelled(task)

        weight = task.forget_size / task.retain_size if self.forget_weight is None else self.forget_weight

        def objective(i: int) -> tuple[Tensor, Tensor]:
            kept, taught = mixed(task, task.retain(i), wrong(i))
            return kept, weight * taught

        steps = self.epochs * task.epoch_retain
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(task, objective, steps, method="salun", optimizer=optimizer, mask=mask, resume=resume)

    def mask(self, task: ClassifierTask) -> dict[str, Tensor]:
        """True at the `fraction` of weights with the largest |gradient| of the loss over the whole forget set."""
        held = list(task.weights.values())
        total = [torch.zeros_like(weight, dtype=torch.float32) for weight in held]
        with evaluated(task.network), torch.enable_grad():
            for i in range(task.epoch_forget):
                batch = task.forget(i)
                value = task.loss(task.network, batch) * len(batch["y"])
                found = torch.autograd.grad(value, held, allow_unused=True, materialize_grads=True)
                torch._foreach_add_(total, [g.float() for g in found])
        size = {name: t.abs() for name, t in zip(task.weights, total, strict=True)}
        return top_k_mask(size, fraction_to_k(self.fraction, sum(t.numel() for t in total)))
