"""Gradient ascent on the forget set of a diffusion model (GA): reverse training, with no term for the retain set."""

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
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class DiffusionGradientAscent(DiffusionMethod):
    """Maximise the training loss on forget batches (Thudi et al., EuroS&P 2022); the retain set is not used."""

    scope: str = option("full", f"weights that may be changed: {', '.join(SCOPES)} or re:PATTERN")
    steps: int = option(20, "training steps; too many destroy images of everything", low=0)
    batch: int = option(16, "forget images per step", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(1e-4)

    presets: ClassVar[Presets] = {"balanced": {}, "paper": {"steps": 250, "batch": 8, "learning_rate": 1e-5}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps, scope=self.scope, batch=self.batch, optimizer=self.optimizer, images=("forget",), passes=1
        )  # fmt: skip

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; Diverged once the loss is not finite."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def ascent(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return -task.loss(network, batch)

        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, None, Side(ascent, task.forget), optimizer=optimizer, resume=resume)
