"""Random labels for diffusion (RL): the concept's prompt learns to predict what the original does for a random other prompt."""

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
from erase.training.two_loss_loop import Side, tune, weighted


@dataclass(frozen=True)
class DiffusionRandomLabel:
    """Descend L_r + w ||e(x_t, c) - e0(x_t, c')||^2, c' a retain prompt drawn once for each picture (Golatkar et al., CVPR 2020)."""

    scope: str = option("full", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    retain_target: str = option(
        "data", "what is kept on retain pictures: the data, as in training, or the original's predictions", choices=("data", "original")
    )
    forget_weight: float = option(2.0, "weight of the forget loss beside the retain loss", low=0.0)
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "forget pictures a step, and as many retain pictures", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(1e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"balanced": {}, "paper": {"batch": 8, "steps": 250, "learning_rate": 1e-5}}
    unlearn: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        retain, unlearn = Side(task.loss, task.retain), Side(task.unlearn, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, unlearn, weighted(self.forget_weight), optimizer=optimizer, resume=resume)
