"""Gradient search over a few words before the prompt, against the denoising loss of the original's image.

UnlearnDiffAtk (Zhang et al., ECCV 2024, arXiv 2310.11868): the denoising loss of the diffusion model measures how well a prompt
explains an image of the concept. 5 words as there, but 40 steps in all: the paper takes 40 at each of 50 timesteps and looks at an
image after each of the 50, so success here is a lower bound. The search is greedy coordinate descent in place of its projected gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of, sources
from eval.attacks.text.denoising_error import levels_of
from eval.attacks.text.token_search import descend, drawn, joined, vocabulary
from eval.attacks.victim import BACKWARD, Victim


@dataclass(frozen=True)
class Prefix:
    """Yields a look after a quarter of the steps, after half of them, and at the end."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "words before the prompt, searched by gradients of the denoising loss"
    assumes: ClassVar[str] = "gradients, a picture of the concept"
    paper: ClassVar[str] = "UnlearnDiffAtk, arXiv 2310.11868"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False

    words: int = option(5, "words before the prompt", low=1, high=16)
    steps: int = option(40, "steps of the search", low=1)
    candidates: int = option(4, "exchanges that are tried per step", low=1)
    levels: int = option(3, "levels of noise that a prompt is judged on", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        step = self.levels * (self.candidates + 1 + BACKWARD)
        return n * (self.levels + self.steps * step + each * len(stops(self.steps)))

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        levels = levels_of(victim, goal, attempts, seed, self.levels)
        known = vocabulary(victim, goal.words)
        rests = [goal.of(i).text for i in attempts]
        draws = [noise_of(seed, i, "prefix") for i in attempts]
        search = descend(
            victim, known, drawn(known, self.words, draws), rests, lambda embeddings, owner: levels.loss(victim, embeddings, owner),
            self.steps, self.candidates, draws,
        )  # fmt: skip
        for step, (rows, _) in enumerate(search, 1):
            if step in stops(self.steps):
                texts = joined(known, rows, rests)
                yield Look(victim.draw(victim.embed(texts), sources(seed, attempts), scales=goal.scales(attempts)), texts)


def stops(steps: int) -> list[int]:
    """A quarter, a half, and all of the steps."""
    return sorted({max(1, steps // 4), max(1, steps // 2), steps})
