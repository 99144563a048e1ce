"""MUNBa (Wu and Harandi, ICCV 2025): forgetting and retaining bargain over each step; Nash's solution in closed form."""

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
from erase.task import Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Moment, Side, products, tune


@dataclass(frozen=True)
class MUNBa:
    """Descend along a_r g_r + a_u g_u, a_i = (1 / ||g_i||) sqrt((1 - cos) / (sin^2 + xi)), cos and sin of the gradients' angle.

    This maximises the product of what the two sides gain to first order (its Theorem 2.6): K a = 1 / a with K the Gram matrix of
    the gradients. Both sides enter with the same length, whatever their losses weigh. A side without a gradient has no say.
    """

    scope: str = option("cross-attention", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    unlearn: str = option(
        "anchor", "what the concept's prompt should predict: what the original does for the anchor, or for a random retain prompt",
        choices=("anchor", "random"),
    )  # fmt: skip
    anchor_pictures: bool = option(False, "draw pictures of the anchor too and forget on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    xi: float = option(1e-8, "keeps the solution finite where the gradients are parallel", above=0.0)
    retain_target: str = option(
        "data", "what is kept on retain pictures: the data, as in training, or the original's predictions", choices=("data", "original")
    )
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget pictures a step, and as many retain pictures", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"scope": "not-cross-attention", "batch": 4, "steps": 200, "learning_rate": 1e-5},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step. Its coefficient is a_u / a_r."""
        yield from tune(
            task,
            self.steps,
            retain=Side(task.loss, task.retain),
            unlearn=Side(task.unlearn, task.forget),
            combine=partial(bargained, self.xi),
            optimizer=OptimizerConfig(self.optimizer, rate_of(self, task.weights)),
            resume=resume,
        )


def bargained(xi: float, g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment | None = None) -> Projected:
    """a_r g_r + a_u g_u; g_r is overwritten."""
    dot, norm_r, norm_u = products(g_r, g_u)
    both = (norm_r > 0) & (norm_u > 0)
    cos = torch.where(both, dot / (norm_r * norm_u).clamp(min=1e-30), 0.0).clamp(-1, 1)
    length = ((1 - cos) / (1 - cos.square() + xi)).sqrt()
    weights = [torch.where(norm > 0, length / norm.clamp(min=1e-30), 0.0) for norm in (norm_r, norm_u)]
    for r, u in zip(g_r, g_u, strict=True):
        r.mul_(weights[0].to(r)).addcmul_(u, weights[1].to(u))
    share = torch.where(both, norm_r / norm_u.clamp(min=1e-30), 0.0)
    return Projected(list(g_r), dot, norm_r, norm_u, share)
