"""Published adversarial prompts from a file: UnlearnDiffAtk's 142, Ring-A-Bell's, MMA-Diffusion's, P4D's, or others.

Lists are their authors' data and not part of this package. Each line is an attempt, with the line's seed if it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from erase.errors import InputError
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.victim import Victim
from eval.prompt_sets import columns_of, read_prompt_set, seed_column

PROMPTS = ("adv_prompt", "adversarial_prompt", "sensitive prompt", "prompt", "text")  # what published lists call them
SEEDS = ("evaluation_seed", "sd_seed", "seed")


@dataclass(frozen=True)
class Listed:
    """Each prompt once, from its own seed alone where the list has one."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "prompts of a list"
    assumes: ClassVar[str] = "prompts"
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[bool] = False
    aims: ClassVar[bool] = False  # a list is of one concept: it cannot be aimed at another, as a control would

    file: str
    texts: tuple[str, ...]
    seeds: tuple[int, ...] | None = None

    @property
    def most(self) -> int:
        """The number of attempts."""
        return len(self.texts)

    def passes(self, n: int, each: int) -> int:
        return n * each

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        texts = [self.texts[i % len(self.texts)] for i in attempts]
        draws = [noise_of(seed, i) for i in attempts]
        if self.seeds is not None:
            draws = [torch.Generator().manual_seed(self.seeds[i % len(self.seeds)]) for i in attempts]
        yield Look(victim.draw(victim.embed(texts), draws), texts)


def listed(path: Path) -> Listed:
    """A list from a .csv, .tsv, .txt or .jsonl file; InputError where it has no column of prompts."""
    columns = columns_of(path, PROMPTS)
    column = next((name for name in PROMPTS if name in columns), None)
    if column is None:
        raise InputError(f"{path}: has the columns {', '.join(columns)}; prompts are expected in one of {', '.join(PROMPTS)}")
    seeds = [name for name in SEEDS if name in columns]
    rows = read_prompt_set(path, column, seeds)
    numbers = tuple(int(row["seed"]) for row in rows) if seed_column(path, seeds) else None
    return Listed(path.name, tuple(str(row["text"]) for row in rows), numbers)
