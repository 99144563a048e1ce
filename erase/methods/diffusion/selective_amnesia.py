"""Selective Amnesia (Heng and Soh, NeurIPS 2023): replay and an elastic weight consolidation penalty keep all but the concept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, one_anchor_option, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.project import Projected
    from erase.task import Step, Task
    from erase.training.two_loss_loop import Moment

LEVELS = 1000
"""Timesteps over which the Fisher information sums the training loss, in whatever number they are drawn."""


@dataclass(frozen=True)
class SelectiveAmnesia(DiffusionMethod):
    """Minimise  E||e(x_q, c) - n||^2 + gamma L_r + lambda sum_i F_i (w_i - w0_i)^2  (its Eq. 8, with the factors of its code).

    x_q are images of a surrogate, here of the anchor, under the concept's prompt: the training loss with the wrong images. F_i is the
    diagonal of the Fisher information: the square of the gradient of one retain image's loss summed over all timesteps, averaged over
    images. It is estimated from a few timesteps of each.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    retain_weight: float = option(1.0, "gamma: weight of the training loss on retain images", low=0.0)
    penalty: float = option(1.0, "lambda: weight of the distance from the original weights, each by its Fisher information", low=0.0)
    fisher_images: int = option(64, "retain images over which the Fisher information is averaged", low=1)
    fisher_timesteps: int = option(8, "timesteps of each of them, out of 1,000, over which its loss is summed", low=1)
    one_anchor: bool = one_anchor_option()
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "anchor images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option("adamw")
    learning_rate: float | None = rate_option(4e-4)

    # 200 epochs of 1,000 images of the surrogate in batches of 4 on each of 4 cards, 500 for nudity
    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {
            "scope": "full",
            "penalty": 50.0,
            "fisher_images": 5000,
            "fisher_timesteps": LEVELS,
            "steps": 12_500,
            "learning_rate": 1e-5,
        },
    }
    kinds: ClassVar[Kinds] = {"paper": {"nudity": {"scope": "noxattn", "steps": 31_250}}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=("retain",),
            unlearn="anchor",
            one_anchor=self.one_anchor,
            anchor_images=True,
            copies=2.0,  # the original weights, and F
            sensitivity_batches=-(-self.fisher_images * self.fisher_timesteps // self.batch),
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; also on resume it must be the original. A Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, products, tune

        original = [weight.detach().clone() for weight in task.weights.values()]
        information = fisher(task, self.fisher_images, self.fisher_timesteps)

        def combine(g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment[DiffusionBatch]) -> Projected:
            """The gradient of the whole; g_r is overwritten."""
            from erase.project import Projected

            dot, norm_r, norm_u = products(g_r, g_u)
            for r, u, f, weight, start in zip(g_r, g_u, information, task.weights.values(), original, strict=True):
                r.add_(u).addcmul_(f, weight.detach() - start, value=2 * self.penalty)
            return Projected(list(g_r), dot, norm_r, norm_u, norm_u.new_ones(()))

        def retain_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.retain_weight * task.loss(network, batch)

        retain, surrogate = Side(retain_loss, task.retain) if self.retain_weight else None, Side(task.loss, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, surrogate, combine, optimizer=optimizer, resume=resume)


def fisher(task: Task[DiffusionBatch], images: int, timesteps: int) -> list[Tensor]:
    """For each weight the mean over retain images of (d/dw sum_t L(image, t))^2; every process takes its share of the images."""
    import torch

    from erase.processes import processes
    from erase.training.micro_batches import count, fitting
    from erase.training.optimizers import gradient_of

    if task.one_image is None:
        raise InputError("the Fisher information needs retain images one at a time, and this task has none: it is not of a diffusion model")
    one_image, (rank, world) = task.one_image, processes()

    def passes(size: int) -> list[Tensor]:
        total = [torch.zeros_like(weight) for weight in task.weights.values()]
        for i in range(rank, images, world):
            batch = one_image(i, timesteps)
            gradient = gradient_of(task.loss, task.network, task.weights, batch, min(size, count(batch)))[1]
            for t, g in zip(total, gradient, strict=True):
                t.addcmul_(g, g, value=LEVELS**2 * world / images)
        return total

    whole = min(task.micro_batch or timesteps, timesteps)
    total, fit = fitting(passes, min(whole, count(task.forget(0))), task.average, str(next(iter(task.weights.values())).device))
    task.micro_batch = fit if fit < whole and fit < count(task.forget(0)) else task.micro_batch
    task.average(total)
    for name, t in zip(task.weights, total, strict=True):
        task.layers[name] = {"sensitivity": float(t.mean()), "trimmed": 0.0}
    return total
