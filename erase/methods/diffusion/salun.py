"""SalUn for diffusion (Fan et al., ICLR 2024): another prompt's prediction for the concept's, and only salient weights may move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.methods.requirements import one_anchor_option
from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.micro_batches import count, fitting
from erase.training.optimizers import OptimizerConfig, gradient_of
from erase.training.two_loss_loop import Side, tune, weighted
from erase.trim import fraction_to_k, top_k_mask


@dataclass(frozen=True)
class DiffusionSalUn:
    """Mask = 1(|grad of the forget loss| >= gamma) (its Eq. 3); then E||e(x_t, c) - e(x_t, c')||^2 + beta L_r under it (its Eq. 7).

    gamma is the quantile that leaves `fraction` of the weights in scope, beta is 1 / `forget_weight`. c' is the anchor's prompt, or
    one of the retain set's, drawn once for each picture. Weights outside the mask stay exactly what they were.
    """

    scope: str = option("full", f"weights that are ranked and may change: {', '.join(SCOPES)} or re:PATTERN")
    fraction: float = option(0.5, "share of the weights that may change: those with the largest gradients", above=0.0, high=1.0)
    saliency_batches: int = option(10, "forget batches that the gradient is averaged over", low=1)
    unlearn: str = option("anchor", "what stands in for the concept: the anchor, or a random retain prompt", choices=("anchor", "random"))
    anchor_pictures: bool = option(False, "draw pictures of the anchor too and forget on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    retain_target: str = option(
        "data", "what is kept on retain pictures: the data, as in training, or the original's predictions", choices=("data", "original")
    )
    forget_weight: float = option(2.0, "weight of the forget loss beside the retain loss: 1 / beta", low=0.0)
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget pictures a step, and as many retain pictures", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"batch": 8, "steps": 250, "learning_rate": 1e-5},
    }
    copies: ClassVar[float] = 0.25  # the mask: one byte a weight

    def __post_init__(self) -> None:
        check(self)

    @property
    def sensitivity_batches(self) -> int:
        return self.saliency_batches

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train the masked weights of `task.network` in place; it is the original, also when resuming. A Step after each."""
        mask = self.mask(task)
        yield from tune(
            task,
            self.steps,
            retain=Side(task.loss, task.retain),
            unlearn=Side(task.unlearn, task.forget),
            combine=weighted(self.forget_weight),
            optimizer=OptimizerConfig(self.optimizer, rate_of(self, task.weights)),
            mask=mask,
            resume=resume,
        )

    def mask(self, task: Task) -> dict[str, Tensor]:
        """True at the `fraction` of weights with the largest |gradient| of the training loss over forget batches."""

        def sweep(size: int) -> list[Tensor]:
            total = [torch.zeros_like(weight) for weight in task.weights.values()]
            for i in range(self.saliency_batches):
                batch = task.forget(i)
                torch._foreach_add_(total, gradient_of(task.loss, task.network, task.weights, batch, min(size, count(batch)))[1])
            return total

        whole = task.micro_batch or count(task.forget(0))
        total, fit = fitting(sweep, whole, task.average, str(next(iter(task.weights.values())).device))
        task.micro_batch = fit if fit < whole else task.micro_batch
        task.average(total)
        size = {name: t.abs() for name, t in zip(task.weights, total, strict=True)}
        mask = top_k_mask(size, fraction_to_k(self.fraction, sum(t.numel() for t in total)))
        for name, t in size.items():
            task.layers[name] = {"sensitivity": float(t.mean()) / self.saliency_batches, "trimmed": 0.0}
        return mask
