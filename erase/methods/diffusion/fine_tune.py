"""Fine-tuning a diffusion model on the retain set alone (FT), in the hope that what is not rehearsed fades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Side, tune


@dataclass(frozen=True)
class DiffusionFineTune:
    """Go on training on retain batches (Warnecke et al., NDSS 2023); the concept is never looked at."""

    scope: str = option("full", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "retain pictures a step", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(1e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"balanced": {}, "paper": {"steps": 250, "batch": 8, "learning_rate": 1e-5}}
    pictures: ClassVar[tuple[str, ...]] = ("retain",)
    passes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        retain = Side(task.loss, task.retain)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, None, optimizer=optimizer, resume=resume)
