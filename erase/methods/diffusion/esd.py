"""ESD (Gandikota et al., ICCV 2023): the frozen model's own guidance, turned round, becomes what the concept's prompt predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from erase.diffusion.batches import asked
from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Batch, Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Side, tune


@dataclass(frozen=True)
class ESD:
    """Descend || e(x_t, c) - [ e0(x_t) - eta (e0(x_t, c) - e0(x_t)) ] ||^2 (its Eqs. 6 and 7), e0 the frozen original.

    The scope is what tells ESD-x (cross-attention) from ESD-u (everything else). Nothing holds on to what should stay. Of a network
    that predicts velocities the same is asked in its own terms: noise and velocity of one x_t differ by an affine map, and the
    weights 1 + eta and -eta sum to one, so the target is the same.
    """

    scope: str = option(
        "cross-attention", f"ESD-x: cross-attention, for what a word calls up; ESD-u: not-cross-attention; or {', '.join(SCOPES)}"
    )
    strength: float = option(1.0, "eta: how far the target lies beyond the prediction without a prompt, away from the concept's", low=0.0)
    steps: int = option(60, "training steps; nothing holds on to what should stay, so more is not better", low=0)
    batch: int = option(16, "forget pictures a step", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(3e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"batch": 1, "steps": 1000, "learning_rate": 1e-5},
        "esd-u": {"scope": "not-cross-attention"},
    }
    pictures: ClassVar[tuple[str, ...]] = ("forget",)
    predictions: ClassVar[tuple[str, ...]] = ("concept", "empty")
    passes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""

        def away(number: int) -> Batch:
            return turned(task.forget(number), self.strength)

        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, None, Side(task.loss, away), optimizer=optimizer, resume=resume)


def turned(batch: Batch, strength: float) -> Batch:
    """The batch with the target e0(x_t) - eta (e0(x_t, c) - e0(x_t)), from the predictions that it carries."""
    plain, named = (asked(batch, target=name)["target"] for name in ("empty", "concept"))
    return {**asked(batch), "target": plain - strength * (named - plain)}
