"""DDIM inversion: known images of the concept traced back to their noise and drawn again from it, without any text.

Memories of Forgotten Concepts (Rusanovsky et al., CVPR 2025, arXiv 2412.00782). A model that never knew the concept may
well draw it from the right noise too: success has a meaning only in comparison with such a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.attacks.attack import Goal, Look
from eval.attacks.latents import known_latents
from eval.attacks.latents.ddim import drawn, inverted, predictor, times
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class Regenerate:
    """DDIM backwards and forwards, in few steps and then in more."""

    family: ClassVar[str] = "latents"
    about: ClassVar[str] = "known pictures traced back to noise and drawn again (DDIM)"
    assumes: ClassVar[str] = "the network's answers, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2412.00782"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False
    comparative: ClassVar[bool] = True

    steps: tuple[int, ...] = (10, 50)

    def passes(self, n: int, each: int) -> int:
        return 2 * n * sum(self.steps)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        clean, nothing = known_latents(victim, goal, attempts)
        for steps in self.steps:
            at = times(victim, steps)
            answer = predictor(victim, nothing)
            noise = inverted(victim, clean, answer, at)[0]
            images = victim.decode(drawn(victim, noise, answer, at))
            yield Look(images, [f"{steps} steps back and forth"] * len(attempts), {"noise": noise.cpu()})
