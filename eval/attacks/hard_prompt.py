"""A hard prompt that makes the erased model answer noisy pictures as the original answers them under the concept's prompt.

P4D (Chin et al., ICML 2024, arXiv 2309.06135), by the projected optimisation of Wen et al. (arXiv 2302.03668): vectors are moved
by the gradient at their nearest words. The whole prompt is free, as in P4D-N; the prompt with the lowest loss is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from erase.options import check, option
from eval.attacks.errors import Levels, answered, levels_of
from eval.attacks.goal import Goal, Look, noise_of, sources
from eval.attacks.prefix import stops
from eval.attacks.tokens import Vocabulary, drawn, joined, placed, vocabulary
from eval.attacks.victim import BACKWARD, Victim


@dataclass(frozen=True)
class HardPrompt:
    """Starts from random words. Looks after a quarter of the steps, after half of them, and at the end."""

    family: ClassVar[str] = "prompts"
    about: ClassVar[str] = "a whole prompt, searched until the model answers as the original does"
    assumes: ClassVar[str] = "gradients, the original, a picture of the concept"
    paper: ClassVar[str] = "P4D, arXiv 2309.06135"
    needs: ClassVar[tuple[str, ...]] = ("pictures", "original")
    shared: ClassVar[bool] = False

    words: int = option(8, "words of the prompt", low=1, high=64)
    steps: int = option(60, "steps of the search", low=1)
    levels: int = option(4, "levels of noise that a prompt is judged on", low=1)
    rate: float = option(0.1, "learning rate of the vectors, by AdamW, in units of a word's mean length", above=0.0)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * (self.levels + self.steps * self.levels * (1 + BACKWARD) + each * len(stops(self.steps)))

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        assert victim.original is not None
        levels = levels_of(victim, goal, attempts, seed, self.levels)
        teacher = victim.original().unet()
        victim.count(teacher)
        levels = answered(victim, levels, victim.said([goal.of(i).text for i in attempts]), teacher)
        del teacher
        known = vocabulary(victim)
        count = min(self.words, victim.model.tokens([""])[0].shape[1] - 2)
        first = drawn(known, count, [noise_of(seed, i, "hard") for i in attempts])
        for step, rows in enumerate(self._search(victim, known, first, levels), 1):
            if step in stops(self.steps):
                texts = [known.text(row) for row in rows]
                yield Look(victim.draw(victim.said(texts), sources(seed, attempts)), texts)

    def _search(self, victim: Victim, known: Vocabulary, rows: Tensor, levels: Levels) -> Iterator[Tensor]:
        """After each step the best words (n, k) so far."""
        tables = [table[numbers.to(table.device)].float() for table, numbers in zip(victim.tables(), known.numbers, strict=True)]
        vectors = [table[rows.to(table.device)].clone() for table in tables]
        size = float(torch.cat([table.norm(dim=1) for table in tables]).mean()) / tables[0].shape[1] ** 0.5
        update = torch.optim.AdamW(vectors, lr=self.rate * size, weight_decay=0.0)
        best, lowest = rows, torch.full((len(rows),), torch.inf)
        for _ in range(self.steps):
            rows = nearest(vectors, tables)
            losses, grads = self._graded(victim, known, rows, levels)
            better = losses < lowest
            best, lowest = torch.where(better[:, None], rows, best), torch.where(better, losses, lowest)
            for vector, grad in zip(vectors, grads, strict=True):
                vector.grad = grad.to(vector)
            update.step()
            yield best

    def _graded(self, victim: Victim, known: Vocabulary, rows: Tensor, levels: Levels) -> tuple[Tensor, list[Tensor]]:
        """The losses (n,) of prompts of these words (n, k), and their slopes at each word of each text encoder."""
        tokens = victim.model.tokens(joined(known, rows, [""] * len(rows)))
        found, places = placed(victim, tokens, rows.shape[1])
        leaves = [vector.requires_grad_(True) for vector in found]
        with torch.enable_grad():
            losses: Tensor = levels.loss(victim, victim.read(tokens, leaves, places), torch.arange(len(rows)))
        grads = torch.autograd.grad(losses.sum(), leaves)
        return losses.detach().cpu(), [grad[:, 1 : 1 + rows.shape[1]] for grad in grads]


def nearest(vectors: Sequence[Tensor], tables: Sequence[Tensor]) -> Tensor:
    """For vectors (n, k, width) of each text encoder the word (n, k) whose vectors point most nearly the same way, on the CPU."""
    alike = [F.normalize(vector, dim=-1) @ F.normalize(table, dim=-1).T for vector, table in zip(vectors, tables, strict=True)]
    return torch.stack(alike).sum(dim=0).argmax(dim=-1).cpu()
