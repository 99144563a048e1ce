"""OrthoGrad (arXiv 2503.02312): the unlearning gradient without what it has in common with the gradient of any single retain image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Presets
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
class OrthoGrad(DiffusionMethod):
    """Descend along  a mean(g_r) + (1 - a) g_u',  g_u' = g_u without its part in the span of the retain images' own gradients.

    The span is taken for each weight tensor on its own. Along g_u' no retain image's loss changes to first order, whereas a step at
    right angles to their mean gradient may raise some and lower others.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    unlearn: str = option(
        "anchor",
        "unlearning loss: distance from the original network's prediction for the anchor's prompt, for a random retain prompt, or the "
        "negated training loss (ascent)",
        choices=("anchor", "random", "ascent"),
    )
    anchor_pictures: bool = option(False, "also draw images of the anchor and unlearn on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    samples: int = option(8, "retain images per step whose gradients are projected out; each is a copy of the scope in memory", low=1)
    alpha: float = option(0.5, "a: share of the mean retain gradient in the step; 0: forgetting alone", low=0.0, high=1.0)
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
        # the abstract gives no numbers: the form of the released step, with the rate that its field uses on Stable Diffusion
        "paper": {"unlearn": "ascent", "alpha": 0.0, "optimizer": "sgd", "samples": 16, "learning_rate": 1e-5},
    }

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            passes=2 + min(1.0, self.samples / self.batch),
            copies=float(min(self.samples, self.batch)),
            unlearn=self.unlearn,
            one_anchor=self.one_anchor,
            anchor_images=self.anchor_pictures and self.unlearn == "anchor",
            predictions=() if self.unlearn == "ascent" else ("anchor",),
            retain_target=self.retain_target,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step. Its coefficient is the share of g_u that is left."""
        from torch import nn

        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def ascent(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return -task.loss(network, batch)

        unlearn = Side(ascent if self.unlearn == "ascent" else task.unlearn, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        combine = partial(orthogonal, task, self.samples, self.alpha)
        yield from tune(task, self.steps, Side(task.loss, task.retain), unlearn, combine, optimizer=optimizer, resume=resume)


def orthogonal(
    task: Task[DiffusionBatch],
    samples: int,
    alpha: float,
    g_r: Sequence[Tensor],
    g_u: Sequence[Tensor],
    moment: Moment[DiffusionBatch],
) -> Projected:
    """a g_r + (1 - a) g_u'; g_r is overwritten. g_r is the mean gradient of the whole retain batch."""
    from erase.project import Projected
    from erase.training.two_loss_loop import products

    single = per_sample(task, samples, moment.number)
    dot, norm_r, norm_u = products(g_r, g_u)
    left = [without_span(rows, u) for rows, u in zip(single, g_u, strict=True)]
    share = products(left, left)[1] / norm_u.clamp(min=1e-30)
    for r, u in zip(g_r, left, strict=True):
        r.mul_(alpha).add_(u, alpha=1 - alpha)
    return Projected(list(g_r), dot, norm_r, norm_u, share)


def per_sample(task: Task[DiffusionBatch], samples: int, number: int) -> list[Tensor]:
    """For each weight the gradients (n, ...) of the first n retain images of a batch, at most `samples`, over all processes."""
    import torch

    from erase.processes import processes
    from erase.training.micro_batches import count, pieces
    from erase.training.optimizers import gradient_of

    rank, world = processes()
    batch = task.retain(number)
    mine = min(count(batch), -(-samples // world))
    rows = [torch.zeros(world, mine, *weight.shape, dtype=weight.dtype, device=weight.device) for weight in task.weights.values()]
    for i, (_, one) in zip(range(mine), pieces(batch, 1), strict=False):
        for row, gradient in zip(rows, gradient_of(task.loss, task.network, task.weights, one, 1)[1], strict=True):
            row[rank, i] = world * gradient
    if world > 1:
        task.average(rows)  # of zeros but for one's own, times their number: every process gets the rows of all
    return [row.flatten(0, 1) for row in rows]


def without_span(rows: Tensor, vector: Tensor) -> Tensor:
    """A tensor without its part in the span of `rows` (n, ...).

    By the eigenvectors of the Gram matrix of the rows, n x n: rows that are zero or alike, for which a QR decomposition would make up
    directions, add none.
    """
    import torch

    exact = torch.float32 if rows.device.type == "mps" else torch.float64
    r, u = rows.flatten(1).to(exact), vector.flatten().to(exact)
    values, vectors = torch.linalg.eigh(r @ r.T)
    real = values > values[-1].clamp(min=0) * len(r) * 1e-9
    inverse = torch.where(real & (values > 0), 1 / values.clamp(min=torch.finfo(exact).tiny), 0.0)
    part = r.T @ (vectors @ (inverse * (vectors.T @ (r @ u))))
    left: Tensor = (u - part).reshape(vector.shape).to(vector)
    return left
