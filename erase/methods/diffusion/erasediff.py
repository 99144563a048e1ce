"""EraseDiff (Wu et al., CVPR 2025): minimise the retain loss under the constraint that the forget loss keeps falling to its optimum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    from erase.task import Batches, Loss, Step, Task
    from erase.training.two_loss_loop import Moment


@dataclass(frozen=True)
class EraseDiff(DiffusionMethod):
    """min L_r  subject to  q = U(w) - min U <= 0: a step along -(g_r + lambda g_u), lambda = max(0, (a - <g_r, g_u>) / ||g_u||^2).

    The minimum of U is approximated by a few inner steps from w and treated as constant, so g_u is also the gradient of q. a sets
    how fast q has to fall: eta ||g_u||^2, in which the inner steps drop out, or eta q, which decreases as forgetting is completed;
    the two choices of the solver that it builds on (Ye et al., NeurIPS 2022).
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    unlearn: str = option(
        "anchor",
        "prediction target under the concept's prompt: the original network's prediction for the anchor, for a random retain prompt, "
        "or uniform noise",
        choices=("anchor", "random", "noise"),
    )
    anchor_pictures: bool = option(False, "also draw images of the anchor and unlearn on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    inner_steps: int = option(
        0, "K: inner steps that estimate how far U can still fall, for a = eta q; 0: a = eta ||g_u||^2, without inner steps", low=0
    )
    inner_rate: float = option(0.1, "learning rate of the inner steps, which are plain gradient descent", above=0.0)
    eta: float = option(1.0, "how fast the constraint has to fall", low=0.0)
    multiplier: float | None = option(
        None, "a fixed lambda instead, as the released code has: then eta and the inner steps have no effect", low=0.0, added_in="0.1.1"
    )
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
        "paper": {"scope": "not-cross-attention", "unlearn": "noise", "steps": 160, "learning_rate": 1e-5},
        "reference": {"scope": "noxattn", "unlearn": "anchor", "multiplier": 1.0, "steps": 160, "learning_rate": 1e-5},
    }
    kinds: ClassVar[Kinds] = {
        "paper": {"nudity": {"scope": "noxattn", "unlearn": "anchor"}, "class": {"unlearn": "anchor", "scope": "full", "steps": 60}},
        "reference": {"class": {"scope": "full", "steps": 60}},
    }

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            passes=2 + self.searched,
            copies=2.0 if self.searched else 0.0,
            unlearn=self.unlearn,
            one_anchor=self.one_anchor,
            anchor_images=self.anchor_pictures,
            predictions=() if self.unlearn == "noise" else ("anchor",),
            retain_target=self.retain_target,
        )

    @property
    def searched(self) -> int:
        """Inner steps that are taken."""
        return 0 if self.multiplier is not None else self.inner_steps

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step. Its coefficient is lambda."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune, weighted

        loss, batches = (task.loss, scrambled(task)) if self.unlearn == "noise" else (task.unlearn, task.forget)
        combine = (
            partial(constrained, task, loss, self.eta, self.inner_steps, self.inner_rate)
            if self.multiplier is None
            else weighted(self.multiplier)
        )
        retain, optimizer = Side(task.loss, task.retain), OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, Side(loss, batches), combine, optimizer=optimizer, resume=resume)


def scrambled(task: Task[DiffusionBatch]) -> Batches[DiffusionBatch]:
    """Forget batches whose target is uniform noise in [0, 1], drawn from (seed, number)."""
    import torch

    from erase.task import generator

    def batch(number: int) -> DiffusionBatch:
        drawn = task.forget(number)
        noise = torch.rand(drawn.target.shape, generator=generator(task.seed, "uniform", number))
        return replace(drawn, target=noise.to(drawn.target))

    return batch


def constrained(
    task: Task[DiffusionBatch],
    loss: Loss[DiffusionBatch],
    eta: float,
    inner_steps: int,
    inner_rate: float,
    g_r: Sequence[Tensor],
    g_u: Sequence[Tensor],
    moment: Moment[DiffusionBatch],
) -> Projected:
    """g_r + lambda g_u; g_r is overwritten. Where g_u is zero, lambda is 0."""
    import torch

    from erase.project import Projected
    from erase.training.two_loss_loop import products

    dot, norm_r, norm_u = products(g_r, g_u)
    square = norm_u.square()
    bound = eta * (gained(task, loss, inner_steps, inner_rate, g_u, moment).to(dot) if inner_steps else square)
    multiplier = torch.where(square > 0, ((bound - dot) / square.clamp(min=torch.finfo(square.dtype).tiny)).clamp(min=0), 0.0)
    for r, u in zip(g_r, g_u, strict=True):
        torch.addcmul(r, u, multiplier.to(u), out=r)
    return Projected(list(g_r), dot, norm_r, norm_u, multiplier)


def gained(
    task: Task[DiffusionBatch], loss: Loss[DiffusionBatch], steps: int, rate: float, g_u: Sequence[Tensor], moment: Moment[DiffusionBatch]
) -> Tensor:
    """q = U(w) - U(w_K), at least 0: how much K steps of gradient descent on this batch reduce the loss. The weights are restored."""
    import torch

    from erase.training.optimizers import gradient_of

    assert moment.batch is not None  # EraseDiff always has a forget batch
    weights = list(task.weights.values())
    before, g = [weight.detach().clone() for weight in weights], list(g_u)
    with torch.no_grad():
        for _ in range(steps):
            for weight, direction in zip(weights, g, strict=True):
                weight.sub_(direction, alpha=rate)
            reached, g = gradient_of(loss, task.network, task.weights, moment.batch, moment.micro)
            task.average([reached, *g])
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
        return (moment.loss - reached).clamp(min=0)
