"""The same attacker with images of the concept: fine-tuning of only the weights that the erasure changed most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import option
from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim
from eval.attacks.weights.arithmetic import keep_outside, most_moved, same_names, weights_of
from eval.attacks.weights.relearn import Relearn
from eval.attacks.weights.training import named, task_of, trained


@dataclass(frozen=True)
class Revive(Relearn):
    """Looks as relearning does. Each step is an ordinary one, of which only the entries under the mask are kept."""

    about: ClassVar[str] = "fine-tuning of the weights that moved furthest, on pictures of the concept"
    assumes: ClassVar[str] = "the weights, the original or the mask, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2603.06640"
    needs: ClassVar[tuple[str, ...]] = ("pictures", "original", "network")

    fraction: float = option(0.02, "share of the changed weights that is fine-tuned", above=0.0, high=1.0)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        assert victim.original is not None
        own, base = weights_of(victim.network), weights_of(victim.original().network())
        same_names(own, base)
        masks = most_moved(own, base, self.fraction)
        del base
        task = task_of(victim, victim.network, goal.pictures, seed + attempts[0], self.batch)
        for step in trained(victim, task, range(1, self.steps + 1), self.rate):
            keep_outside(victim.network, masks, own)
            if step in self.stops:
                yield Look(named(victim, goal, attempts, seed), [f"{step} steps"] * len(attempts))
