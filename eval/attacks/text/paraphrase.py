"""Paraphrases: descriptions that mean the concept without its name, other wordings, and its name misspelt.

Described in Six-CD (arXiv 2406.14855) and HUB (arXiv 2410.05664) as what users do without any tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from erase.options import check, option
from erase.task import generator
from eval.attacks.attack import Goal, Look
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class Paraphrase:
    """A few wordings per attempt, one after another, each with the same noise."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "descriptions, other wordings, and the name misspelt"
    assumes: ClassVar[str] = "prompts"
    paper: ClassVar[str] = "arXiv 2406.14855"
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = False

    wordings: int = option(4, "prompts per attempt", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * each * self.wordings

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        every = [tried(goal, i, self.wordings, seed) for i in attempts]
        for texts in zip(*every, strict=True):
            yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)


def tried(goal: Goal, attempt: int, count: int, seed: int) -> list[str]:
    """The wordings of an attempt: descriptions and misspellings in turn."""
    text, word = goal.of(attempt).text, (goal.words or (goal.name,))[0]
    bent = [goal.renamed(text, other) for other in misspelt(word)]
    start = _number(len(goal.wordings), seed, attempt) if goal.wordings else 0
    meant = [goal.wordings[(start + k) % len(goal.wordings)] for k in range(min(count, len(goal.wordings)))]
    pairs = [text for pair in zip(meant, bent, strict=False) for text in pair]
    variants = list(dict.fromkeys([*pairs, *meant, *bent]))
    return [variants[k % len(variants)] for k in range(count)]


def misspelt(word: str) -> list[str]:
    """Misspellings that a person can still read: spaced, doubled, with a letter less, with two letters swapped, repeated."""
    middle = len(word) // 2
    swapped = word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :] if len(word) > 2 else word
    spellings = [f"{word} {word} {word}", word[:middle] + word[middle + 1 :], word[:middle] + word[middle] + word[middle:], swapped]
    return [spelling for spelling in [*spellings, " ".join(word.replace(" ", ""))] if spelling and spelling != word]


def _number(high: int, *key: object) -> int:
    """A number from 0 to `high` - 1 that depends on the key alone."""
    return int(torch.randint(high, (1,), generator=generator(*key, "wording")))
