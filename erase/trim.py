"""Trimming: find the most sensitive weights exactly, and reinitialise them. Knows tensors by name, no network.

The k-th largest score is found in two histograms over bit patterns: those of non-negative floats, read as integers,
stand in the order of the floats. Where k is a small share, a sample first sets a bar under which nothing need be
looked at twice. So nothing is concatenated, sorted or indexed whole, and scores stay on their device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from erase.errors import InputError

CHUNK = 1 << 17
"""Scores looked at in one go: temporaries stay within about 35 bytes times this, 5 MiB, and mostly at half of it."""

LOW = 16
"""Of the 31 bits of a non-negative float32 the first histogram takes the upper 15, the second the lower 16."""

SAMPLE = 1 << 17
"""About how many scores are sampled to set the bar."""

FEW = 32
"""Scores over the bar are set aside only where they are at most one in this many, which bounds their memory."""


def trim(
    weights: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    fraction: float,
    how: str,
    generator: torch.Generator,
    rank_over: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Reinitialise the `fraction` of weights with the largest scores, in place; return the mask (True = reinitialised).

    With `rank_over`, the scores of a superset, that share is taken of the superset, and of it only what lies in
    `weights` is reinitialised: the released code ranks over all weights and trims in a few blocks.
    """
    ranked = {name: scores[name] for name in weights} if rank_over is None else rank_over
    if missing := [name for name in weights if name not in ranked]:
        raise InputError(f"trimming ranks over scores that lack {missing[0]!r}: give a superset of the weights to trim")
    k = fraction_to_k(fraction, sum(score.numel() for score in ranked.values()))
    chosen = top_k_mask(ranked, k)
    mask = {name: chosen[name] for name in weights}
    reinitialise(weights, mask, how, generator)
    return mask


def fraction_to_k(fraction: float, n: int) -> int:
    """k = round(fraction n). InputError unless 0 < fraction <= 1 and at least one weight comes of it."""
    if not 0 < fraction <= 1:
        raise InputError(f"the trimmed fraction must be above 0 and at most 1 (0.005 is 0.5 %), not {fraction}")
    if not (k := round(fraction * n)):
        raise InputError(f"a trimmed fraction of {fraction} chooses none of {n} weights: give a larger fraction or scope")
    return k


@torch.no_grad()
def top_k_mask(scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """Masks, True at exactly the k largest of all scores together; of equals at the border the first are taken.

    First is by order of names in the mapping, then by flat index. Scores: float32, float16 or bfloat16, any devices.
    Beside the masks (one byte a score) it holds a few temporaries of CHUNK elements, at most one score in FEW, and, should
    a tensor not be contiguous, a copy of that one. InputError if a score is negative or NaN, or k is not among 0..n.
    """
    n = sum(score.numel() for score in scores.values())
    if not 0 <= k <= n:
        raise InputError(f"cannot choose {k} of {n} scores")
    masks = {name: torch.zeros(score.shape, dtype=torch.bool, device=score.device) for name, score in scores.items()}
    if k:
        border, wanted = _border(scores, k)
        for name, score in scores.items():
            for chosen, bits in zip(masks[name].view(-1).split(CHUNK), _bits(score), strict=True):
                torch.gt(bits, border, out=chosen)
                if wanted:
                    equals = (bits == border).nonzero()[:wanted, 0]
                    chosen[equals] = True
                    wanted -= len(equals)
    return masks


def _border(scores: Mapping[str, Tensor], k: int) -> tuple[int, int]:
    """A bit pattern such that all above it are among the k largest, and how many of those that equal it are, too."""
    for name, score in scores.items():
        _refuse_unordered(name, score)
    scores = _contenders(scores, k)
    counts = torch.zeros(1 << (31 - LOW), dtype=torch.int64)
    for bits in _packed(scores):
        counts += torch.bincount(bits >> LOW, minlength=len(counts)).cpu()
    high, wanted = _descend(counts, k)
    counts = torch.zeros(1 << LOW, dtype=torch.int64)
    for bits in _packed(scores):
        counts += torch.bincount(bits[(bits >> LOW) == high] & (len(counts) - 1), minlength=len(counts)).cpu()
    low, wanted = _descend(counts, wanted)
    border = high << LOW | low
    # Mostly all equals are wanted, and need not be looked for one by one.
    return (border - 1, 0) if wanted == counts[low] else (border, wanted)


def _contenders(scores: Mapping[str, Tensor], k: int) -> Mapping[str, Tensor]:
    """All scores from some bar up, at least k of them and few; or, where a sample finds no such bar, all scores."""
    n = sum(score.numel() for score in scores.values())
    stride = max(1, n // SAMPLE)
    sample = torch.cat([score.detach().reshape(-1)[::stride].float().cpu() for score in scores.values()])
    rank = k * len(sample) / n
    rank = math.ceil(rank + 4 * math.sqrt(rank) + 8)  # four deviations down, so that the bar is hardly ever too high
    if rank * FEW > len(sample):
        return scores
    bar = int(sample.kthvalue(len(sample) - rank + 1).values.view(torch.int32))
    found, filled = torch.empty(n // FEW, dtype=torch.int32, device=next(iter(scores.values())).device), 0
    for bits in _packed(scores):
        kept = bits[bits >= bar]
        if filled + len(kept) > len(found):
            return scores
        found[filled : filled + len(kept)] = kept
        filled += len(kept)
    return {"over the bar": found[:filled].view(torch.float32)} if filled >= k else scores


def _descend(counts: Tensor, k: int) -> tuple[int, int]:
    """From the top: the bucket that holds the k-th largest, and its rank within."""
    reached = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(reached, k))
    bucket = len(counts) - 1 - place
    return bucket, k - int(reached[place] - counts[bucket])


def _bits(score: Tensor) -> Iterator[Tensor]:
    """Scores as integers of the same order, a chunk at a time; float16 and bfloat16 widen exactly. -0 is 0."""
    for chunk in score.detach().reshape(-1).split(CHUNK):
        yield chunk.float().contiguous().view(torch.int32) & 0x7FFFFFFF


def _packed(scores: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The bits of all scores in pieces of at most CHUNK; small tensors go together, for every histogram has its price."""
    held: list[Tensor] = []
    for score in scores.values():
        for bits in _bits(score):
            if held and (held[0].device != bits.device or sum(map(len, held)) + len(bits) > CHUNK):
                yield torch.cat(held)
                held.clear()
            held.append(bits)
    if held:
        yield torch.cat(held)


def _refuse_unordered(name: str, score: Tensor) -> None:
    """InputError for scores that have no place in the order, or another type than promised."""
    if score.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"scores of {name!r} are {score.dtype}: expected float32, float16 or bfloat16")
    if score.numel():
        lowest = float(score.detach().amin())  # amin hands a NaN on
        if math.isnan(lowest) or lowest < 0:
            raise InputError(f"scores of {name!r} reach {lowest}: expected numbers from 0 up")


@torch.no_grad()
def reinitialise(weights: Mapping[str, Tensor], mask: Mapping[str, Tensor], how: str, generator: torch.Generator) -> None:
    """Give the masked entries fresh values, in place (Table 3 of the paper compares the four ways).

    uniform: U(-b, b) with b = 1/sqrt(fan_in), how torch starts Linear and Conv layers; normal: N(0, b²/3), of the same
    variance; zero; one. Draws are float32, on the CPU, only for the masked entries, and so alike on every device.
    """
    for name, weight in weights.items():
        if how in ("zero", "one"):
            weight.masked_fill_(mask[name], float(how == "one"))
            continue
        if how not in ("uniform", "normal"):
            raise InputError(f"reinitialisation {how!r} is unknown: give uniform, normal, zero or one")
        if weight.ndim < 2:
            raise InputError(f"{name!r} has no fan-in to draw {how} values from: trim matrices and kernels, or choose zero or one")
        bound = 1 / math.sqrt(weight[0].numel())
        count = int(mask[name].sum())
        if how == "uniform":
            fresh = (2 * torch.rand(count, generator=generator) - 1) * bound
        else:
            fresh = torch.randn(count, generator=generator) * (bound / math.sqrt(3))
        weight[mask[name]] = fresh.to(weight)
