"""A hard prompt under which the erased model's predictions for noisy images match the original's under the concept's prompt.

P4D (Chin et al., ICML 2024, arXiv 2309.06135), with the whole prompt free, as in P4D-N. The search is greedy coordinate descent in
place of the projected optimisation of the paper (Wen et al., arXiv 2302.03668), which succeeded less often on the embedded model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.text.denoising_error import Levels, answered, levels_of
from eval.attacks.text.prefix import stops
from eval.attacks.text.token_search import descend, drawn, vocabulary
from eval.attacks.victim import BACKWARD, Victim


@dataclass(frozen=True)
class HardPrompt:
    """Starts from random words. Yields a look after a quarter of the steps, after half of them, and at the end."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "a whole prompt, searched until the model answers as the original does"
    assumes: ClassVar[str] = "gradients, the original, a picture of the concept"
    paper: ClassVar[str] = "P4D, arXiv 2309.06135"
    needs: ClassVar[tuple[str, ...]] = ("pictures", "original")
    shared: ClassVar[bool] = False

    words: int = option(8, "words of the prompt", low=1, high=75)
    steps: int = option(32, "steps of the search", low=1)
    candidates: int = option(8, "exchanges that are tried per step", low=1)
    levels: int = option(4, "levels of noise that a prompt is judged on", low=1)

    every: int = option(0, "look every so many steps; 0: after a quarter, half and all of them", low=0, added_in="0.1.1")

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        step = self.levels * (self.candidates + 1 + BACKWARD)
        return n * (2 * self.levels + self.steps * step + each * len(self.stops))

    @property
    def stops(self) -> list[int]:
        """The steps after which it looks."""
        return sorted({*range(self.every, self.steps, self.every), self.steps}) if self.every else stops(self.steps)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        levels = as_the_original(victim, goal, attempts, seed, self.levels)
        known = vocabulary(victim)
        count = min(self.words, victim.model.tokens([""])[0].shape[1] - 2)
        draws = [noise_of(seed, i, "hard") for i in attempts]
        search = descend(
            victim, known, drawn(known, count, draws), [""] * len(draws), lambda embeddings, owner: levels.loss(victim, embeddings, owner),
            self.steps, self.candidates, draws,
        )  # fmt: skip
        for step, (rows, _) in enumerate(search, 1):
            if step in self.stops:
                texts = [known.text(row) for row in rows]
                yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)


def as_the_original(victim: Victim, goal: Goal, attempts: Sequence[int], seed: int, count: int) -> Levels:
    """Noisy images of the goal, with the original's predictions under prompts that name it as targets."""
    assert victim.original is not None
    levels = levels_of(victim, goal, attempts, seed, count)
    teacher = victim.original().network()
    victim.count(teacher)
    return answered(victim, levels, victim.embed([goal.of(i).text for i in attempts]), teacher)
