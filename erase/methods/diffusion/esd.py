"""ESD (Gandikota et al., ICCV 2023): under the concept's prompt, learn the frozen model's guidance with its sign reversed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.diffusion.guided_target import turned
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.scope import SCOPES
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task


@dataclass(frozen=True)
class ESD(DiffusionMethod):
    """Minimise || e(x_t, c) - [ e0(x_t) - eta (e0(x_t, c) - e0(x_t)) ] ||^2 (its Eqs. 6 and 7), e0 the frozen original.

    ESD-x trains cross-attention, ESD-u everything else. There is no term for the retain set. For a network that predicts
    velocities the formula is the same: noise and velocity of one x_t differ by an affine map, and the weights 1 + eta and -eta
    sum to one, so the target is the same.
    """

    scope: str = option(
        "cross-attention",
        "weights that may be changed; ESD-x: cross-attention, for concepts named in the prompt; ESD-u: noxattn; "
        f"or one of {', '.join(SCOPES)}, or re:PATTERN",
    )
    strength: float = option(
        1.0, "eta: distance of the target from the unconditional prediction, away from the prediction for the concept", low=0.0
    )
    steps: int = option(60, "training steps; without a retain loss, more are not better", low=0)
    batch: int = option(16, "forget images per step", low=1)
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(3e-4)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "paper": {"batch": 1, "steps": 1000, "learning_rate": 1e-5},
        "esd-u": {"scope": "noxattn", "batch": 1, "steps": 1000, "learning_rate": 1e-5},
    }
    kinds: ClassVar[Kinds] = {"paper": {"nudity": {"scope": "noxattn"}}}  # ESD-u for nudity, ESD-x for styles and objects

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=("forget",),
            predictions=("concept", "empty"),
            passes=1,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def away(number: int) -> DiffusionBatch:
            return turned(task.forget(number), self.strength)

        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, None, Side(task.loss, away), optimizer=optimizer, resume=resume)
