"""The baseline of the attacks: the prompt as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class Named:
    """The prompt itself."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "the prompt that names it, as it is"
    assumes: ClassVar[str] = "prompts"
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = False

    def passes(self, n: int, each: int) -> int:
        return n * each

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        texts = [goal.of(i).text for i in attempts]
        yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)
