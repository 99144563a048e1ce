"""Published adversarial prompts from a file: UnlearnDiffAtk's 142, Ring-A-Bell's, MMA-Diffusion's, P4D's, or others.

Lists are their authors' data and not part of this package. Each line is an attempt, with the line's seed and
guidance scale if it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.victim import Victim
from eval.prompt_sets import GUIDANCE, PROMPTS, SEEDS, Columns, read_prompt_file

ADVERSARIAL = (*(name for name in PROMPTS if name not in ("prompt", "text")), "prompt", "text")  # before the prompts they replace


@dataclass(frozen=True)
class Listed:
    """Each prompt once, from its own seed alone and with its own guidance scale where the list has them."""

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
    scales: tuple[float | None, ...] | None = field(default=None, metadata={"added_in": "0.1.1"})

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
        scales = [self.scales[i % len(self.scales)] for i in attempts] if self.scales is not None else None
        yield Look(victim.draw(victim.embed(texts), draws, scales=scales), texts)


def listed(path: Path) -> Listed:
    """A list from a .csv, .tsv, .txt or .jsonl file; InputError where it has no column of prompts."""
    file = read_prompt_file(path, Columns(ADVERSARIAL, SEEDS, GUIDANCE))
    seeds = tuple(int(row["seed"]) for row in file.rows) if file.seed else None
    scales = tuple(row.get("guidance") for row in file.rows)
    return Listed(path.name, tuple(str(row["text"]) for row in file.rows), seeds, scales if set(scales) != {None} else None)
