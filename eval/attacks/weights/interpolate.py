"""Interpolation from the erased weights to the original's, as in merged checkpoints.

Whoever has the original has the concept already; this measures how near the erased weights are to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.arithmetic import between, put, same_names, weights_of
from eval.attacks.weights.training import named


@dataclass(frozen=True)
class Interpolate:
    """A small share of the original, then larger ones."""

    family: ClassVar[str] = "weights"
    about: ClassVar[str] = "weights between the erased model's and the original's"
    assumes: ClassVar[str] = "the weights, the original"
    paper: ClassVar[str] = "arXiv 2203.05482"
    needs: ClassVar[tuple[str, ...]] = ("original",)
    shared: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True

    shares: tuple[float, ...] = (0.1, 0.25, 0.5)

    def passes(self, n: int, each: int) -> int:
        return n * each * len(self.shares)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        own, base = weights_of(victim.changed), weights_of(victim.unchanged())
        same_names(own, base)
        for share in self.shares:
            put(victim.changed, between(own, base, share))
            yield Look(named(victim, goal, attempts, seed), [f"{share:.0%} of the way"] * len(attempts))
