"""Search for prompts word by word: the vocabulary, and coordinate descent over it by gradients of the token embeddings.

Only whole words that every tokenizer of the pipeline reads as one token are used, so the result can be typed as text: it is
tokenized to the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erase.concepts import naming
from erase.errors import InputError
from eval.attacks.victim import PromptEmbeddings, Victim

BEST = 32  # tokens of each place that the gradient likes most: candidates are drawn from these

Loss = Callable[[PromptEmbeddings, Tensor], Tensor]
"""Prompt embeddings (m) and the attempt of each (m,) -> one loss each (m,)."""


@dataclass(frozen=True)
class Vocabulary:
    """Words, and the id of each in every tokenizer (encoders, words)."""

    words: tuple[str, ...]
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.words)

    def text(self, row: Tensor) -> str:
        return " ".join(self.words[i] for i in row.tolist())


def vocabulary(victim: Victim, banned: Sequence[str] = ()) -> Vocabulary:
    """Every lower-case word that is one token in each tokenizer, except those `banned`."""
    tokenizers = [tokenizer for tokenizer, _ in victim.model.word_coders()]
    whole = [token[:-4] for token in tokenizers[0].get_vocab() if re.fullmatch(r"[a-z]{2,}</w>", token)]
    names = naming(banned) if banned else None
    words = sorted(word for word in whole if names is None or not names.search(word))
    read = [[numbers[1:-1] for numbers in tokenizer(words).input_ids] for tokenizer in tokenizers] if words else []
    single = [i for i in range(len(words)) if all(len(numbers[i]) == 1 for numbers in read)]
    if not single:
        raise InputError("this model's tokenizer has no whole words, which searching prompts needs; leave these attacks out")
    return Vocabulary(tuple(words[i] for i in single), torch.tensor([[numbers[i][0] for i in single] for numbers in read]))


def drawn(words: Vocabulary, count: int, sources: Sequence[torch.Generator]) -> Tensor:
    """Random words (n, count) as indices of the vocabulary."""
    return torch.stack([torch.randint(len(words), (count,), generator=source) for source in sources])


def joined(words: Vocabulary, rows: Tensor, rests: Sequence[str]) -> list[str]:
    """Prompts: the words of `rows`, then the rest."""
    return [f"{words.text(row)} {rest}".strip() for row, rest in zip(rows, rests, strict=True)]


def descend(
    victim: Victim,
    words: Vocabulary,
    rows: Tensor,
    rests: Sequence[str],
    loss: Loss,
    steps: int,
    candidates: int,
    sources: Sequence[torch.Generator],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Greedy coordinate descent (Zou et al., arXiv 2307.15043) over `rows` (n, k), words before each of `rests`.

    After each step the words (n, k) and their losses (n,), which never rise: of a few exchanges of one word, drawn from
    those that the gradient likes most, the best is taken if it is better.
    """
    index = torch.arange(len(rows))
    with torch.no_grad():
        best = loss(victim.embed(joined(words, rows, rests)), index).cpu()
    for _ in range(steps):
        liked = slopes(victim, words, rows, rests, loss).topk(min(BEST, len(words)), dim=-1, largest=False).indices
        tried = torch.stack([_exchanged(rows[i], liked[i], candidates, sources[i]) for i in index.tolist()])
        flat, owner = tried.flatten(0, 1), index.repeat_interleave(candidates)
        with torch.no_grad():
            losses = loss(victim.embed(joined(words, flat, [rests[i] for i in owner.tolist()])), owner).cpu()
        lowest, which = losses.reshape(len(rows), candidates).min(dim=1)
        better = lowest < best
        rows = torch.where(better[:, None], tried[index, which], rows)
        best = torch.where(better, lowest, best)
        yield rows, best


def sweep(victim: Victim, words: Vocabulary, rows: Tensor, best: Tensor, loss: Loss, candidates: int) -> tuple[Tensor, Tensor]:
    """Coordinate descent: one pass over the positions of whole prompts `rows` (n, k), from the first to the last.

    At each position the words that the gradient likes most are tried, and the best stays if it is better. Returns words (n, k) and
    their losses (n,), which are not above `best`, those of `rows`. Nothing in it is random.
    """
    count, index = min(candidates, len(words)), torch.arange(len(rows))
    rests, owner = [""] * len(rows), index.repeat_interleave(count)
    for place in range(rows.shape[1]):
        liked = slopes(victim, words, rows, rests, loss)[:, place].topk(count, dim=-1, largest=False).indices
        tried = rows.repeat_interleave(count, dim=0)
        tried[:, place] = liked.flatten()
        with torch.no_grad():
            losses = loss(victim.embed(joined(words, tried, [""] * len(tried))), owner).cpu()
        lowest, which = losses.reshape(len(rows), count).min(dim=1)
        better = lowest < best
        rows = torch.where(better[:, None], tried.unflatten(0, (len(rows), count))[index, which], rows)
        best = torch.where(better, lowest, best)
    return rows, best


def slopes(victim: Victim, words: Vocabulary, rows: Tensor, rests: Sequence[str], loss: Loss) -> Tensor:
    """First-order change of the loss if place (n, k) got each other word: (n, k, words) on the CPU."""
    tokens = victim.model.tokens(joined(words, rows, rests))
    vectors, places = placed(victim, tokens, rows.shape[1])
    leaves = [vector.requires_grad_(True) for vector in vectors]
    with torch.enable_grad():
        total = loss(victim.read(tokens, leaves, places), torch.arange(len(rows))).sum()
    grads = torch.autograd.grad(total, leaves)
    results = torch.zeros(*rows.shape, len(words))
    for grad, table, numbers in zip(grads, victim.tables(), words.numbers, strict=True):
        results += (grad[:, 1 : 1 + rows.shape[1]].float() @ table[numbers.to(table.device)].float().T).cpu()
    return results


def placed(victim: Victim, tokens: Sequence[Tensor], count: int) -> tuple[list[Tensor], list[Tensor]]:
    """The embeddings (n, tokens, width) of token numbers of CLIP, and where the first `count` after the beginning are."""
    pairs = list(zip(victim.tables(), tokens, strict=False))
    vectors = [table[numbers.to(table.device)].clone() for table, numbers in pairs]
    places = [torch.zeros_like(numbers, dtype=torch.bool) for _, numbers in pairs]
    for where in places:
        where[:, 1 : 1 + count] = True
    return vectors, places


def _exchanged(row: Tensor, liked: Tensor, count: int, source: torch.Generator) -> Tensor:
    """`count` copies of a row (k,), each with one word exchanged for one of those liked (k, best) at its place."""
    where = torch.randint(len(row), (count,), generator=source)
    which = torch.randint(liked.shape[1], (count,), generator=source)
    copies = row.repeat(count, 1)
    copies[torch.arange(count), where] = liked[where, which]
    return copies
