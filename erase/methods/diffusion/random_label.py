"""Random labels for diffusion (RL): under the concept's prompt, learn the original's prediction for a random retain prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class DiffusionRandomLabel(DiffusionMethod):
    """Minimise L_r + w ||e(x_t, c) - e0(x_t, c')||^2, c' a retain prompt drawn once per forget image (Golatkar et al., CVPR 2020)."""

    scope: str = option("full", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    retain_target: str = option(
        "data",
        "prediction target on retain images: that of training (data), or the original network's prediction (original)",
        choices=("data", "original"),
    )
    forget_weight: float = option(2.0, "weight of the forget loss relative to the retain loss", low=0.0)
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget images per step, and as many retain images", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(1e-4)

    presets: ClassVar[Presets] = {"balanced": {}, "paper": {"batch": 8, "steps": 250, "learning_rate": 1e-5}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            unlearn="random",
            predictions=("anchor",),
            retain_target=self.retain_target,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune, weighted

        retain, unlearn = Side(task.loss, task.retain), Side(task.unlearn, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, unlearn, weighted(self.forget_weight), optimizer=optimizer, resume=resume)
