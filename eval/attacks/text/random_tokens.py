"""Random search: a few random words before the prompt, several times. The baseline of the other searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.text.token_search import drawn, joined, vocabulary
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class RandomTokens:
    """The same noise each time, other words."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "random words before the prompt"
    assumes: ClassVar[str] = "prompts"
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = False

    words: int = option(5, "random words before the prompt", low=1, high=16)
    tries: int = option(6, "prompts per attempt", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * each * self.tries

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        known = vocabulary(victim, goal.words)
        rests = [goal.of(i).text for i in attempts]
        for number in range(self.tries):
            rows = drawn(known, self.words, [noise_of(seed, i, "words", number) for i in attempts])
            texts = joined(known, rows, rests)
            yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)
