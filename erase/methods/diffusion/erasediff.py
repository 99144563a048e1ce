"""EraseDiff (Wu et al., CVPR 2025): retain, under the constraint that the forget loss keeps falling towards its own optimum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from erase.methods.requirements import one_anchor_option
from erase.options import check, option
from erase.project import Projected
from erase.scope import SCOPES
from erase.task import Batch, Batches, Loss, Step, Task, generator
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig, gradient_of
from erase.training.two_loss_loop import Moment, Side, products, tune


@dataclass(frozen=True)
class EraseDiff:
    """min L_r  subject to  q = U(w) - min U <= 0: a step along -(g_r + lambda g_u), lambda = max(0, (a - <g_r, g_u>) / ||g_u||^2).

    The minimum of U is what a few inner steps from w reach, held constant, so g_u is the gradient of q as well. a says how fast q
    has to fall: eta ||g_u||^2, in which the inner steps drop out, or eta q, which eases off as forgetting is done; the two choices
    of the solver that it builds on (Ye et al., NeurIPS 2022).
    """

    scope: str = option("cross-attention", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    unlearn: str = option(
        "anchor",
        "what the concept's prompt should predict: what the original does for the anchor, for a random retain prompt, or uniform noise",
        choices=("anchor", "random", "noise"),
    )
    anchor_pictures: bool = option(False, "draw pictures of the anchor too and forget on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    inner_steps: int = option(0, "K: inner steps that find how far U can still fall, where a is eta q; 0: a is eta ||g_u||^2", low=0)
    inner_rate: float = option(0.1, "step size of these, which are plain gradient descent", above=0.0)
    eta: float = option(1.0, "how fast the constraint has to fall", low=0.0)
    retain_target: str = option(
        "data", "what is kept on retain pictures: the data, as in training, or the original's predictions", choices=("data", "original")
    )
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget pictures a step, and as many retain pictures", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"scope": "not-cross-attention", "unlearn": "noise", "steps": 160, "learning_rate": 1e-5},
    }

    def __post_init__(self) -> None:
        check(self)

    @property
    def copies(self) -> float:
        return 2.0 if self.inner_steps else 0.0

    @property
    def passes(self) -> int:
        return 2 + self.inner_steps

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step. Its coefficient is lambda."""
        loss, batches = (task.loss, scrambled(task)) if self.unlearn == "noise" else (task.unlearn, task.forget)
        combine = partial(constrained, task, loss, self.eta, self.inner_steps, self.inner_rate)
        yield from tune(
            task,
            self.steps,
            retain=Side(task.loss, task.retain),
            unlearn=Side(loss, batches),
            combine=combine,
            optimizer=OptimizerConfig(self.optimizer, rate_of(self, task.weights)),
            resume=resume,
        )


def scrambled(task: Task) -> Batches:
    """Forget batches whose target is uniform noise in [0, 1], of (seed, number)."""

    def batch(number: int) -> Batch:
        b = task.forget(number)
        noise = torch.rand(b["target"].shape, generator=generator(task.seed, "uniform", number))
        return {**b, "target": noise.to(b["target"])}

    return batch


def constrained(
    task: Task, loss: Loss, eta: float, inner_steps: int, inner_rate: float, g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment
) -> Projected:
    """g_r + lambda g_u; g_r is overwritten. Without g_u lambda is 0."""
    dot, norm_r, norm_u = products(g_r, g_u)
    square = norm_u.square()
    bound = eta * (gained(task, loss, inner_steps, inner_rate, g_u, moment).to(dot) if inner_steps else square)
    multiplier = torch.where(square > 0, ((bound - dot) / square.clamp(min=torch.finfo(square.dtype).tiny)).clamp(min=0), 0.0)
    for r, u in zip(g_r, g_u, strict=True):
        torch.addcmul(r, u, multiplier.to(u), out=r)
    return Projected(list(g_r), dot, norm_r, norm_u, multiplier)


@torch.no_grad()
def gained(task: Task, loss: Loss, steps: int, rate: float, g_u: Sequence[Tensor], moment: Moment) -> Tensor:
    """q = U(w) - U(w_K): what K steps of gradient descent on this batch take off the loss, never below 0; weights are put back."""
    weights = list(task.weights.values())
    before, g = [weight.detach().clone() for weight in weights], list(g_u)
    for _ in range(steps):
        for weight, direction in zip(weights, g, strict=True):
            weight.sub_(direction, alpha=rate)
        reached, g = gradient_of(loss, task.network, task.weights, moment.batch, moment.micro)
        task.average([reached, *g])
    for weight, value in zip(weights, before, strict=True):
        weight.copy_(value)
    return (moment.loss - reached).clamp(min=0)
