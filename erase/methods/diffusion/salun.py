"""SalUn for diffusion (Fan et al., ICLR 2024): learn another prompt's prediction for the concept's, with only salient weights trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, one_anchor_option, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class DiffusionSalUn(DiffusionMethod):
    """Mask = 1(|grad of the forget loss| >= gamma) (its Eq. 3); then E||e(x_t, c) - e(x_t, c')||^2 + beta L_r under it (its Eq. 7).

    gamma is the quantile that leaves `fraction` of the weights in scope, beta is 1 / `forget_weight`. c' is the anchor's prompt, or
    a retain prompt drawn once per forget image. Weights outside the mask stay exactly as they were.
    """

    scope: str = option("full", f"weights that are ranked and may be changed: {', '.join(SCOPES)} or re:PATTERN")
    fraction: float = option(0.5, "share of the weights that is trained: those with the largest gradients", above=0.0, high=1.0)
    saliency_batches: int = option(10, "forget batches over which the gradient is averaged", low=1)
    unlearn: str = option(
        "anchor",
        "prediction target under the concept's prompt: the original network's prediction for the anchor, or for a random retain prompt",
        choices=("anchor", "random"),
    )
    anchor_pictures: bool = option(False, "also draw images of the anchor and unlearn on both; not part of the method")
    one_anchor: bool = one_anchor_option()
    retain_target: str = option(
        "data",
        "prediction target on retain images: that of training (data), or the original network's prediction (original)",
        choices=("data", "original"),
    )
    forget_weight: float = option(2.0, "1 / beta: weight of the forget loss relative to the retain loss", low=0.0)
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"batch": 8, "steps": 250, "learning_rate": 1e-5},
    }
    # its script weights the *retain* loss: by 0.1 for nudity, in 1 epoch of 800 images; by 0.5 for a class, in 5 epochs of its images
    kinds: ClassVar[Kinds] = {"paper": {"nudity": {"forget_weight": 10.0, "steps": 100}, "class": {"steps": 600}}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            copies=0.25,  # the mask: one byte per weight
            unlearn=self.unlearn,
            one_anchor=self.one_anchor,
            anchor_images=self.anchor_pictures,
            predictions=("anchor",),
            retain_target=self.retain_target,
            sensitivity_batches=self.saliency_batches,
            masked=True,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train the masked weights of `task.network` in place; also on resume it must be the original. A Step after each step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune, weighted

        mask, optimizer = self.mask(task), OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        retain, unlearn, combine = Side(task.loss, task.retain), Side(task.unlearn, task.forget), weighted(self.forget_weight)
        yield from tune(task, self.steps, retain, unlearn, combine, optimizer=optimizer, mask=mask, resume=resume)

    def mask(self, task: Task[DiffusionBatch]) -> dict[str, Tensor]:
        """True at the `fraction` of weights with the largest |gradient| of the training loss over forget batches."""
        import torch

        from erase.training.micro_batches import count, fitting
        from erase.training.optimizers import gradient_of
        from erase.trim import fraction_to_k, top_k_mask

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
        magnitudes = {name: t.abs() for name, t in zip(task.weights, total, strict=True)}
        mask = top_k_mask(magnitudes, fraction_to_k(self.fraction, sum(t.numel() for t in total)))
        for name, t in magnitudes.items():
            task.layers[name] = {"sensitivity": float(t.mean()) / self.saliency_batches, "trimmed": 0.0}
        return mask
