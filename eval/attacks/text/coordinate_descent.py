"""Coordinate descent over the tokens of a whole prompt: one position after another, all of them in several passes.

A reconstruction from the abstract of RECORD (arXiv 2502.17537), whose text was not at hand: at each position the candidates are ranked
by the gradient of the loss of the erased model that denoises an image of the concept, a batch of them is evaluated, and the best
stays. Prompt length, number of candidates and passes, and the levels of noise are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of
from eval.attacks.text.denoising_error import levels_of
from eval.attacks.text.token_search import drawn, sweep, vocabulary
from eval.attacks.victim import BACKWARD, PromptEmbeddings, Victim


@dataclass(frozen=True)
class CoordinateDescent:
    """Starts from random words. Yields a look after each pass over all positions, and ends early where a pass changes nothing."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "a whole prompt, token by token in several passes, searched by gradients of the denoising loss"
    assumes: ClassVar[str] = "gradients, a picture of the concept"
    paper: ClassVar[str] = "after the abstract of RECORD, arXiv 2502.17537"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False

    words: int = option(8, "words of the prompt", low=1, high=75)
    sweeps: int = option(3, "passes over all positions", low=1)
    candidates: int = option(8, "words that are tried at each position, those that the gradient likes most", low=1)
    levels: int = option(4, "levels of noise that a prompt is judged on", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        position = self.levels * (self.candidates + 1 + BACKWARD)
        return n * (self.levels + self.sweeps * (self.words * position + each))

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        levels = levels_of(victim, goal, attempts, seed, self.levels)
        known = vocabulary(victim)
        count = min(self.words, victim.model.tokens([""])[0].shape[1] - 2)

        def loss(embeddings: PromptEmbeddings, owner: Tensor) -> Tensor:
            return levels.loss(victim, embeddings, owner)

        rows = drawn(known, count, [noise_of(seed, i, "coordinates") for i in attempts])
        with torch.no_grad():
            best = loss(victim.embed([known.text(row) for row in rows]), torch.arange(len(rows))).cpu()
        for _ in range(self.sweeps):
            earlier = rows
            rows, best = sweep(victim, known, rows, best, loss, self.candidates)
            texts = [known.text(row) for row in rows]
            yield Look(victim.draw(victim.embed(texts), goal.sources(seed, attempts), scales=goal.scales(attempts)), texts)
            if torch.equal(rows, earlier):
                return
