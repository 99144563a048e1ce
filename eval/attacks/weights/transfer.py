"""Adding what another fine-tune of the same base has learned: the difference of weights, as merged checkpoints and LoRAs do.

Task arithmetic (arXiv 2212.04089). The other fine-tune is made here, of the original on images of the concept: the
worst that a community's add-on can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import check, option
from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.arithmetic import plus, put, same_names, weights_of
from eval.attacks.weights.training import BATCH, named, passes, task_of, trained


@dataclass(frozen=True)
class Transfer:
    """The difference once, then more of it."""

    family: ClassVar[str] = "weights"
    about: ClassVar[str] = "the difference of another fine-tune of the original, added"
    assumes: ClassVar[str] = "the weights, the original, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2212.04089"
    needs: ClassVar[tuple[str, ...]] = ("pictures", "original")
    shared: ClassVar[bool] = True

    steps: int = option(40, "steps of the other fine-tune", low=1)
    times: tuple[float, ...] = (1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return passes(self.steps) + n * each * len(self.times)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        assert victim.original is not None
        other = victim.original().network()
        victim.count(other)
        base, own = weights_of(other), weights_of(victim.network)
        same_names(own, base)
        for _ in trained(victim, task_of(victim, other, goal.pictures, seed + attempts[0], BATCH), [self.steps]):
            pass
        tuned = weights_of(other)
        for times in self.times:
            put(victim.network, plus(own, tuned, base, times))
            yield Look(named(victim, goal, attempts, seed), [f"{times:g} times the difference"] * len(attempts))
