"""Fine-tuning on images of other concepts only: whether the concept returns by itself.

As any user who adapts a model does (Suriyakumar et al., arXiv 2410.08074; SPQR, arXiv 2511.19558).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.relearn import Relearn
from eval.attacks.weights.training import named, task_of, trained


@dataclass(frozen=True)
class Benign(Relearn):
    """Looks as relearning does, at prompts that name the concept."""

    about: ClassVar[str] = "fine-tuning on pictures of other things only"
    assumes: ClassVar[str] = "the weights"
    paper: ClassVar[str] = "arXiv 2410.08074, SPQR 2511.19558"
    needs: ClassVar[tuple[str, ...]] = ("others",)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        known = [target for target in goal.others if target.picture is not None]
        task = task_of(victim, victim.network, known, seed + attempts[0], self.batch)
        for step in trained(victim, task, self.stops, self.rate):
            yield Look(named(victim, goal, attempts, seed), [f"{step} steps"] * len(attempts))
