"""Concept ablation (Kumari et al., ICCV 2023): pictures of the anchor, under the concept's prompt, as if it were the anchor's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from erase.diffusion.batches import towards
from erase.methods.requirements import one_anchor_option
from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Step, Task
from erase.training.learning_rates import rate_of, rate_option
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Side, tune, weighted


@dataclass(frozen=True)
class ConceptAblation:
    """Descend || e(x_t, c*) - target ||^2 on pictures x of the anchor c, c* the concept's prompt in its place (its Eqs. 5 and 6).

    The target is what the original says of x_t under c (model-based) or the noise itself (noise-based). Beside it stands the
    training loss of x under c, so that the anchor stays what it is. The concept is never shown.
    """

    scope: str = option("cross-attention", f"weights that may change: {', '.join(SCOPES)} or re:PATTERN")
    target: str = option("model", "what is learnt: the original's prediction for the anchor, or the noise", choices=("model", "noise"))
    retain_weight: float = option(1.0, "weight of the training loss on the anchor's own pairs", low=0.0)
    one_anchor: bool = one_anchor_option()
    steps: int = option(100, "training steps", low=0)
    batch: int = option(16, "pictures of the anchor a step", low=1)
    optimizer: str = option("adam", "how it descends", choices=("adam", "adamw", "adafactor", "sgd"))
    learning_rate: float | None = rate_option(4e-4)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {"scope": "cross-attention-kv", "retain_weight": 0.0, "batch": 8, "learning_rate": 1.6e-5},
    }
    pictures: ClassVar[tuple[str, ...]] = ()
    anchor: ClassVar[bool] = True
    anchor_pictures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def predictions(self) -> tuple[str, ...]:
        return ("anchor",) if self.target == "model" else ()

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        answer = towards(task.loss, target="anchor" if self.target == "model" else "target")
        own = towards(task.loss, said="anchor_")

        def kept(network: Any, batch: Any) -> Tensor:
            return self.retain_weight * own(network, batch)

        retain = Side(kept, task.forget) if self.retain_weight else None
        unlearn = Side(answer, task.forget)
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, unlearn, weighted(1.0), optimizer=optimizer, resume=resume)
