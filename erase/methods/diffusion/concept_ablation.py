"""Concept ablation (Kumari et al., ICCV 2023): train on images of the anchor under the concept's prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements, one_anchor_option, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class ConceptAblation(DiffusionMethod):
    """Minimise || e(x_t, c*) - target ||^2 on images x of the anchor c, with the concept's prompt c* (its Eqs. 5 and 6).

    The target is the original's prediction for x_t under c (model-based) or the noise itself (noise-based). A second term is the
    training loss of x under c, so that the anchor is preserved. No images of the concept are used.

    Instead of the squared distance: GEM's hinge, which leaves an image alone once its prediction is nearer to the anchor's than to the
    concept's, or the Hellinger distance of Gaussians around both predictions.
    """

    scope: str = option("cross-attention", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    target: str = option(
        "model",
        "prediction target under the concept's prompt: the original network's prediction for the anchor (model), or the noise",
        choices=("model", "noise"),
    )
    retain_weight: float = option(1.0, "weight of the training loss on images of the anchor under the anchor's prompt", low=0.0)
    distance: str = option(
        "squared",
        "distance of the predictions under the concept's prompt from the anchor's: squared; hinge, until they are nearer to these than to "
        "what was predicted before; or hellinger, of Gaussians around them",
        choices=("squared", "hinge", "hellinger"),
        added_in="0.1.1",
    )
    margin: float = option(
        1.0, "with --distance hinge: share of the distance from what was predicted before that is near enough", low=0.0, added_in="0.1.1"
    )
    sharpness: float = option(
        10.0, "with --distance hellinger: inverse square of the width of the Gaussians, per value", above=0.0, added_in="0.1.1"
    )
    one_anchor: bool = one_anchor_option()
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "anchor images per step", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"scope": "cross-attention-kv", "retain_weight": 0.0, "batch": 8, "learning_rate": 1.6e-5},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance != "squared" and self.target != "model":
            message = f"--distance {self.distance} compares predictions, and --target {self.target} is none; give --target model"
            raise InputError(message, option="distance")

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=(),
            unlearn="anchor",
            one_anchor=self.one_anchor,
            anchor_images=True,
            predictions=() if self.target != "model" else ("anchor", "before") if self.distance == "hinge" else ("anchor",),
            distance=self.distance,
            margin=self.margin,
            sharpness=self.sharpness,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.diffusion.batches import required_anchor
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune, weighted

        def concept_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return task.unlearn(network, batch) if self.target == "model" else task.loss(network, batch)

        def retain_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.retain_weight * task.loss(network, replace(batch, prompt=required_anchor(batch)))

        retain = Side(retain_loss, task.forget) if self.retain_weight else None
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        unlearn = Side(concept_loss, task.forget)
        yield from tune(task, self.steps, retain, unlearn, weighted(1.0), optimizer=optimizer, resume=resume)
