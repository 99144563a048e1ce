"""Trimming: find the weights with the largest scores exactly, and reinitialise them.

The k-th largest score is found with two histograms over bit patterns: those of non-negative floats, read as integers, have
the order of the floats. Where k is a small share, a sample first gives a lower threshold, below which scores need not be
looked at again. So scores are never concatenated, sorted or indexed as a whole, and stay on their device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from erase.errors import InputError

CHUNK = 1 << 17
"""Scores processed at once: temporaries need at most about 35 bytes times this, 5 MiB, and usually half of it."""

LOW = 16
"""Of the 31 bits of a non-negative float32 the first histogram uses the upper 15, the second the lower 16."""

SAMPLE = 1 << 17
"""Approximate number of scores in the sample for the threshold."""

FEW = 32
"""Scores over the threshold are copied only if they are at most one in this many, which bounds their memory."""


def trim(
    weights: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    fraction: float,
    how: str,
    generator: torch.Generator,
    rank_over: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Reinitialise the `fraction` of weights with the largest scores, in place; return the mask (True = reinitialised).

    With `rank_over`, the scores of a superset, the share is taken of the superset, and only the chosen entries of
    `weights` are reinitialised: the released code ranks over all weights and trims in a few blocks.
    """
    ranked = {name: scores[name] for name in weights} if rank_over is None else rank_over
    if missing := [name for name in weights if name not in ranked]:
        raise InputError(f"rank_over has no scores for {missing[0]!r}: give a superset of the weights to trim")
    k = fraction_to_k(fraction, sum(score.numel() for score in ranked.values()))
    chosen = top_k_mask(ranked, k)
    mask = {name: chosen[name] for name in weights}
    reinitialise(weights, mask, how, generator)
    return mask


def fraction_to_k(fraction: float, n: int) -> int:
    """k = round(fraction n). InputError unless 0 < fraction <= 1 and k is at least 1."""
    if not 0 < fraction <= 1:
        raise InputError(f"the trimmed fraction must be above 0 and at most 1 (0.005 is 0.5 %), not {fraction}")
    if not (k := round(fraction * n)):
        raise InputError(f"a trimmed fraction of {fraction} chooses none of {n} weights: give a larger fraction or scope")
    return k


@torch.no_grad()
def top_k_mask(scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """Masks, True at exactly the k largest of all scores together; of equal scores at the border the first are taken.

    The order is that of the names in the mapping, then the flat index. Scores: float32, float16 or bfloat16, on any devices.
    Beside the masks (one byte per score) it needs a few temporaries of CHUNK elements, a copy of at most one score in FEW, and
    a copy of a tensor that is not contiguous. InputError if a score is negative or NaN, or k is not in 0..n.
    """
    n = sum(score.numel() for score in scores.values())
    if not 0 <= k <= n:
        raise InputError(f"cannot choose {k} of {n} scores")
    masks = {name: torch.zeros(score.shape, dtype=torch.bool, device=score.device) for name, score in scores.items()}
    if k:
        border, ties = _border(scores, k)
        for name, score in scores.items():
            for chosen, bits in zip(masks[name].view(-1).split(CHUNK), _bits(score), strict=True):
                torch.gt(bits, border, out=chosen)
                if ties:
                    equals = (bits == border).nonzero()[:ties, 0]
                    chosen[equals] = True
                    ties -= len(equals)
    return masks


def _border(scores: Mapping[str, Tensor], k: int) -> tuple[int, int]:
    """A bit pattern such that all scores above it are among the k largest, and how many of those equal to it are."""
    for name, score in scores.items():
        _refuse_unordered(name, score)
    scores = _contenders(scores, k)
    counts = torch.zeros(1 << (31 - LOW), dtype=torch.int64)
    for bits in _packed(scores):
        counts += torch.bincount(bits >> LOW, minlength=len(counts)).cpu()
    high, rank = _bucket(counts, k)
    counts = torch.zeros(1 << LOW, dtype=torch.int64)
    for bits in _packed(scores):
        counts += torch.bincount(bits[(bits >> LOW) == high] & (len(counts) - 1), minlength=len(counts)).cpu()
    low, ties = _bucket(counts, rank)
    border = high << LOW | low
    # Usually all equal scores are chosen, and need not be searched one by one.
    return (border - 1, 0) if ties == counts[low] else (border, ties)


def _contenders(scores: Mapping[str, Tensor], k: int) -> Mapping[str, Tensor]:
    """All scores from some threshold up, at least k and few; or, where a sample gives no such threshold, all scores."""
    n = sum(score.numel() for score in scores.values())
    stride = max(1, n // SAMPLE)
    sample = torch.cat([score.detach().reshape(-1)[::stride].float().cpu() for score in scores.values()])
    rank = k * len(sample) / n
    rank = math.ceil(rank + 4 * math.sqrt(rank) + 8)  # four deviations lower, so that the threshold is almost never too high
    if rank * FEW > len(sample):
        return scores
    threshold = int(sample.kthvalue(len(sample) - rank + 1).values.view(torch.int32))
    largest, filled = torch.empty(n // FEW, dtype=torch.int32, device=next(iter(scores.values())).device), 0
    for bits in _packed(scores):
        above = bits[bits >= threshold]
        if filled + len(above) > len(largest):
            return scores
        largest[filled : filled + len(above)] = above
        filled += len(above)
    return {"above the threshold": largest[:filled].view(torch.float32)} if filled >= k else scores


def _bucket(counts: Tensor, k: int) -> tuple[int, int]:
    """The histogram bucket with the k-th largest score, and its rank within the bucket, both from the top."""
    cumulative = counts.flip(0).cumsum(0)
    index = int(torch.searchsorted(cumulative, k))
    bucket = len(counts) - 1 - index
    return bucket, k - int(cumulative[index] - counts[bucket])


def _bits(score: Tensor) -> Iterator[Tensor]:
    """Scores as integers of the same order, one chunk at a time; float16 and bfloat16 widen exactly. -0 is 0."""
    for chunk in score.detach().reshape(-1).split(CHUNK):
        yield chunk.float().contiguous().view(torch.int32) & 0x7FFFFFFF


def _packed(scores: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The bits of all scores in pieces of at most CHUNK; small tensors are joined, because each histogram has a fixed cost."""
    pending: list[Tensor] = []
    for score in scores.values():
        for bits in _bits(score):
            if pending and (pending[0].device != bits.device or sum(map(len, pending)) + len(bits) > CHUNK):
                yield torch.cat(pending)
                pending.clear()
            pending.append(bits)
    if pending:
        yield torch.cat(pending)


def _refuse_unordered(name: str, score: Tensor) -> None:
    """InputError for scores that are NaN or negative, or of another type."""
    if score.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"scores of {name!r} are {score.dtype}: expected float32, float16 or bfloat16")
    if score.numel():
        lowest = float(score.detach().amin())  # amin propagates NaN
        if math.isnan(lowest) or lowest < 0:
            raise InputError(f"scores of {name!r} reach {lowest}: expected at least 0")


@torch.no_grad()
def reinitialise(weights: Mapping[str, Tensor], mask: Mapping[str, Tensor], how: str, generator: torch.Generator) -> None:
    """Reinitialise the masked entries in place (Table 3 of the paper compares the four ways).

    uniform: U(-b, b) with b = 1/sqrt(fan_in), as torch initialises Linear and Conv layers; normal: N(0, b²/3), of the same
    variance; zero; one. Values are drawn in float32, on the CPU, for the masked entries only, and so are the same on every device.
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
