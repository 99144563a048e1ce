"""Concept inversion: vectors in place of the concept's name, learned from images of it with the erased model itself.

Textual inversion (Gal et al., arXiv 2208.01618) on an erased model is the attack of Pham et al. (CCE, ICLR 2024, arXiv
2308.01508): where only the link from the concept's name was removed, the vectors become a new name for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from erase.concepts import naming
from erase.options import check, option
from erase.task import generator
from eval.attacks.attack import Goal, Look, Target, latents_of
from eval.attacks.text.token_search import Vocabulary, vocabulary
from eval.attacks.victim import BACKWARD, PromptEmbeddings, Victim

RATES = {True: 5e-2, False: 5e-3}  # of the embedded model, and of Stable Diffusion (Gal et al.)


@dataclass(frozen=True)
class Inversion:
    """One set of vectors for all attempts; looks after each of `steps`. They start at the name itself."""

    family: ClassVar[str] = "embeddings"
    about: ClassVar[str] = "vectors in place of the name, learned from pictures"
    assumes: ClassVar[str] = "gradients, pictures of the concept, a way to put in vectors"
    paper: ClassVar[str] = "CCE, arXiv 2308.01508"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = True

    vectors: int = option(4, "vectors that stand for the concept", low=1, high=8)
    steps: tuple[int, ...] = (50, 100, 200, 400)
    batch: int = option(8, "images per step", low=1)
    rate: float | None = option(None, "learning rate by Adam; by default 0.05 for the embedded model, else 0.005", above=0.0)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return self.steps[-1] * self.batch * (1 + BACKWARD) + n * each * len(self.steps)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        known = goal.pictures
        clean = latents_of(victim, [target.picture for target in known])
        words = vocabulary(victim, goal.words)
        mark = marker(words, [target.text for target in goal.targets])
        vectors = start(victim, (goal.words or ("picture",))[0], self.vectors)
        update = torch.optim.Adam(vectors, lr=self.rate or RATES[victim.small])
        requested = [captioned(goal, goal.of(i), mark, self.vectors) for i in attempts]
        for step in range(1, self.steps[-1] + 1):
            batch = _batch(victim, goal, known, clean, mark, self, generator(seed, "inversion", attempts[0], step))
            update.zero_grad()
            error(victim, words, mark, vectors, batch).backward()  # type: ignore[no-untyped-call]
            update.step()
            if step in self.steps:
                with torch.no_grad():
                    embeddings = embed_with(victim, words, mark, vectors, requested)
                results = {f"vectors.{k}": vector.detach().clone() for k, vector in enumerate(vectors)}
                images = victim.draw(embeddings, goal.sources(seed, attempts), scales=goal.scales(attempts))
                yield Look(images, [f"{step} steps"] * len(attempts), results)


def marker(words: Vocabulary, texts: Sequence[str]) -> str:
    """A word that none of the texts contains, to mark the place of the vectors."""
    return next(word for word in words.words if not any(naming([word]).search(text) for text in texts))


def start(victim: Victim, name: str, count: int) -> list[Tensor]:
    """The embeddings (count, width) of the name's own tokens, repeated cyclically, for each text encoder."""
    results = []
    for (tokenizer, _), table in zip(victim.model.word_coders(), victim.tables(), strict=True):
        numbers = tokenizer(name).input_ids[1:-1]
        results.append(table[[numbers[k % len(numbers)] for k in range(count)]].float().clone().requires_grad_(True))
    return results


def captioned(goal: Goal, target: Target, mark: str, count: int) -> str:
    """The target's prompt with the marker, `count` times, in place of the goal's name."""
    return goal.renamed(target.text, " ".join([mark] * count))


def embed_with(victim: Victim, words: Vocabulary, mark: str, vectors: Sequence[Tensor], texts: Sequence[str]) -> PromptEmbeddings:
    """Embeddings of prompts with the vectors, in order, in place of the marker."""
    victim.ready()
    tokens, put, places = victim.model.tokens(list(texts)), [], []
    for numbers, own, vector in zip(tokens[: len(vectors)], words.numbers, vectors, strict=True):
        where = numbers == own[words.words.index(mark)]
        turn = (where.long().cumsum(dim=1) - 1).clamp(min=0) % len(vector)
        put.append(vector[turn.to(vector.device)])
        places.append(where)
    return victim.read(tokens, put, places)


Batch = tuple[list[str], Tensor, Tensor, Tensor]
"""Captions, noisy latents, timesteps, and prediction targets."""


def error(victim: Victim, words: Vocabulary, mark: str, vectors: Sequence[Tensor], batch: Batch) -> Tensor:
    """The training loss of the model, under captions with the vectors."""
    texts, noisy, times, target = batch
    with torch.enable_grad():
        results = victim.predict(noisy, times, embed_with(victim, words, mark, vectors, texts))
        return (results - target).square().mean()


def _batch(
    victim: Victim, goal: Goal, known: Sequence[Target], clean: Tensor, mark: str, attack: Inversion, draw: torch.Generator
) -> Batch:
    """A random batch of known images under random noise."""
    rows = torch.randint(len(known), (attack.batch,), generator=draw)
    times = victim.objective.timesteps(torch.randint(victim.objective.levels, (attack.batch,), generator=draw))
    noise = torch.randn(clean[rows].shape, generator=draw)
    texts = [captioned(goal, known[i], mark, attack.vectors) for i in rows.tolist()]
    noisy, target = victim.noised(clean[rows], noise, times)
    return texts, noisy, times, target
