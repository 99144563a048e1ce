"""Rounding the weights to few bits: the small changes of unlearning may be lost.

Zhang et al. (ICLR 2025, arXiv 2410.16454) observed this in language models. Round to nearest per channel, without calibration; matrices
and kernels of the part that the erasure changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.arithmetic import put, rounded, weights_of
from eval.attacks.weights.training import named


@dataclass(frozen=True)
class Quantise:
    """8 bits, then 4."""

    family: ClassVar[str] = "weights"
    about: ClassVar[str] = "weights rounded to 8 and to 4 bits"
    assumes: ClassVar[str] = "the weights"
    paper: ClassVar[str] = "arXiv 2410.16454"
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True

    bits: tuple[int, ...] = (8, 4)

    def passes(self, n: int, each: int) -> int:
        return n * each * len(self.bits)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        own = weights_of(victim.changed)
        for bits in self.bits:
            put(victim.changed, rounded(own, bits))
            yield Look(named(victim, goal, attempts, seed), [f"{bits} bits"] * len(attempts))
