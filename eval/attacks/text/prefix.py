"""Gradient search over a few words before the prompt, against the denoising loss of the original's image.

UnlearnDiffAtk (Zhang et al., ECCV 2024, arXiv 2310.11868): the denoising loss of the diffusion model measures how well a prompt
explains an image of the concept. 5 words as there, but 40 steps in all: the paper takes 40 at each of 50 timesteps and looks at an
image after each of the 50, so success here is a lower bound. The search is greedy coordinate descent in place of its projected gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.text.denoising_error import Levels, levels_of
from eval.attacks.text.token_search import descend, drawn, joined, vocabulary
from eval.attacks.victim import BACKWARD, PromptEmbeddings, Victim


@dataclass(frozen=True)
class Prefix:
    """Yields a look after a quarter of the steps, after half of them, and at the end; with several rounds after each round."""

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

    rounds: int = option(
        1, "levels of noise that are searched on in turn, each for so many steps; 1: on all levels at once", low=1, added_in="0.1.1"
    )
    plain: bool = option(False, "look at the plain prompt first, so that success is before the attack and by it together", added_in="0.1.1")

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        looks = (self.rounds if self.rounds > 1 else len(stops(self.steps))) + self.plain
        levels = 1 if self.rounds > 1 else self.levels
        return n * (self.rounds * levels * (1 + self.steps * (self.candidates + 1 + BACKWARD)) + each * looks)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        def look(texts: list[str]) -> Look:
            return Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)

        rests = [goal.of(i).text for i in attempts]
        if self.plain:
            yield look(rests)
        whole = levels_of(victim, goal, attempts, seed, self.levels if self.rounds == 1 else self.rounds)
        known = vocabulary(victim, goal.words)
        draws = [noise_of(seed, i, "prefix") for i in attempts]
        rows = drawn(known, self.words, draws)
        for number in range(self.rounds):
            levels = whole if self.rounds == 1 else whole.only(number)

            def loss(embeddings: PromptEmbeddings, owner: Tensor, levels: Levels = levels) -> Tensor:
                return levels.loss(victim, embeddings, owner)

            search = descend(victim, known, rows, rests, loss, self.steps, self.candidates, draws)
            for step, (rows, _) in enumerate(search, 1):
                if step in (stops(self.steps) if self.rounds == 1 else [self.steps]):
                    yield look(joined(known, rows, rests))


def stops(steps: int) -> list[int]:
    """A quarter, a half, and all of the steps."""
    return sorted({max(1, steps // 4), max(1, steps // 2), steps})
