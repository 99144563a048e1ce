"""Gradient ascent on the forget set of a diffusion model (GA): undo training by its opposite, with nothing to hold it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Batch, Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Side, tune


@dataclass(frozen=True)
class DiffusionGradientAscent:
    """Climb the training loss on forget batches (Thudi et al., EuroS&P 2022); the retain set is never looked at."""

    scope: str = option("full", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    steps: int = option(20, "training steps; pictures of everything dissolve when there are too many", low=0)
    batch: int = option(16, "forget pictures a step", low=1)
    optimizer: str = option("adam", "how it climbs", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(1e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"balanced": {}, "paper": {"steps": 250, "batch": 8, "learning_rate": 1e-5}}
    pictures: ClassVar[tuple[str, ...]] = ("forget",)
    passes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Ascend in `task.network` in place; Diverged once the loss has no number any more."""

        def climbed(network: nn.Module, batch: Batch) -> Tensor:
            return -task.loss(network, batch)

        unlearn = Side(climbed, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, None, unlearn, optimizer=optimizer, resume=resume)
