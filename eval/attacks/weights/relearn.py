"""Fine-tuning on images of the concept: after how many steps it is back.

The relearning curve, with the steps and rates of `bench --relearn`, on images that the erasure did not use. Any model can
learn any concept; the best result of an erasure is that relearning takes as long as in a model that never knew it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import check, option
from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.training import BATCH, named, passes, task_of, trained
from eval.options import RATES, Relearning


@dataclass(frozen=True)
class Relearn:
    """Yields a look after 5, 10, 20, ... steps."""

    family: ClassVar[str] = "weights"
    about: ClassVar[str] = "fine-tuning on pictures of the concept"
    assumes: ClassVar[str] = "the weights, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2505.16174"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = True

    steps: int = option(160, "steps of fine-tuning", low=1)
    batch: int = option(BATCH, "images per step", low=1)
    rate: float | None = option(None, "learning rate by Adam; by default 1e-4 for the embedded model, else 1e-5", above=0.0)
    times: float = option(1.0, "the rate in multiples of that", above=0.0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def stops(self) -> list[int]:
        return Relearning(relearn=self.steps).checkpoints()[1:]

    def passes(self, n: int, each: int) -> int:
        return passes(self.steps, self.batch) + n * each * len(self.stops)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        task = task_of(victim, victim.network, goal.pictures, seed + attempts[0], self.batch)
        for step in trained(victim, task, self.stops, self.times * (self.rate or RATES[victim.small])):
            yield Look(named(victim, goal, attempts, seed), [f"{step} steps"] * len(attempts))
