"""MUNBa (Wu and Harandi, ICCV 2025): each step is the Nash bargaining solution between forgetting and retaining, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, one_anchor_option, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.project import Projected
    from erase.task import Step, Task
    from erase.training.two_loss_loop import Moment


@dataclass(frozen=True)
class MUNBa(DiffusionMethod):
    """Descend along a_r g_r + a_u g_u, a_i = (1 / ||g_i||) sqrt((1 - cos) / (sin^2 + xi)), cos and sin of the gradients' angle.

    This maximises the product of both objectives' first-order gains (its Theorem 2.6): K a = 1 / a with K the Gram matrix of
    the gradients. Both gradients enter with the same length, whatever the scale of their losses. A zero gradient is ignored.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    unlearn: str = option(
        "anchor",
        "prediction target under the concept's prompt: the original network's prediction for the anchor, or for a random retain prompt",
        choices=("anchor", "random"),
    )
    anchor_pictures: bool = option(False, "also draw images of the anchor and unlearn on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    xi: float = option(1e-8, "keeps the solution finite where the gradients are parallel", above=0.0)
    retain_target: str = option(
        "data",
        "prediction target on retain images: that of training (data), or the original network's prediction (original)",
        choices=("data", "original"),
    )
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"scope": "not-cross-attention", "batch": 4, "steps": 200, "learning_rate": 1e-5},
    }
    # the checkpoint that its script names is that of step 24, counted from 0. Its factor 100 on the unlearning loss has no effect on the
    # bargain, in which both gradients have one length
    kinds: ClassVar[Kinds] = {"paper": {"nudity": {"scope": "noxattn", "steps": 25}}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            unlearn=self.unlearn,
            one_anchor=self.one_anchor,
            anchor_images=self.anchor_pictures,
            predictions=("anchor",),
            retain_target=self.retain_target,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step. Its coefficient is a_u / a_r."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        retain, unlearn = Side(task.loss, task.retain), Side(task.unlearn, task.forget)
        combine, optimizer = partial(bargained, self.xi), OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, unlearn, combine, optimizer=optimizer, resume=resume)


def bargained(xi: float, g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment[DiffusionBatch] | None = None) -> Projected:
    """a_r g_r + a_u g_u; g_r is overwritten."""
    import torch

    from erase.project import Projected
    from erase.training.two_loss_loop import products

    dot, norm_r, norm_u = products(g_r, g_u)
    both = (norm_r > 0) & (norm_u > 0)
    cos = torch.where(both, dot / (norm_r * norm_u).clamp(min=1e-30), 0.0).clamp(-1, 1)
    length = ((1 - cos) / (1 - cos.square() + xi)).sqrt()
    weights = [torch.where(norm > 0, length / norm.clamp(min=1e-30), 0.0) for norm in (norm_r, norm_u)]
    for r, u in zip(g_r, g_u, strict=True):
        r.mul_(weights[0].to(r)).addcmul_(u, weights[1].to(u))
    ratio = torch.where(both, norm_r / norm_u.clamp(min=1e-30), 0.0)
    return Projected(list(g_r), dot, norm_r, norm_u, ratio)
