"""How far apart two distributions of labels are, and how uneven one is, with intervals. Pure functions in float64.

An image set is a table of counts (images, labels): how often each label stands for each image, mostly once. Distances are total
variation in percent: the share of labels that would have to change for the two distributions to be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eval.metrics.intervals import CONFIDENCE, SEED, Metric, rounded, wilson

DRAWS = 2000  # of the bootstrap over images, and of halves
METHOD = (
    f"{100 * CONFIDENCE:g} %: percentile bootstrap over images, before and after together, {DRAWS} draws, seed {SEED}; "
    "where no image has another label, Wilson's of the share of images that changed"
)
Table = np.ndarray
"""Counts (images, labels)."""


def table_of(labels: Sequence[Sequence[str]], order: Sequence[str]) -> Table:
    """The table of images with these labels each; labels that `order` does not have are left out."""
    place = {label: k for k, label in enumerate(order)}
    counts = np.zeros((len(labels), len(order)))
    for row, own in enumerate(labels):
        for label in own:
            if label in place:
                counts[row, place[label]] += 1
    return counts


def distribution(counts: np.ndarray) -> np.ndarray:
    """Shares of labels from sums (..., labels); of nothing at all, zeros."""
    totals = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts, totals, out=np.zeros_like(counts, dtype=np.float64), where=totals > 0))


def variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Total variation distance of sums of counts (..., labels), in percent."""
    return np.asarray(50 * np.abs(distribution(first) - distribution(second)).sum(axis=-1))


def unevenness(counts: np.ndarray) -> np.ndarray:
    """Total variation distance of sums of counts (..., labels) from the distribution in which all labels are as frequent, in percent."""
    return np.asarray(50 * np.abs(distribution(counts) - 1 / counts.shape[-1]).sum(axis=-1))


def between(before: Table, after: Table) -> Metric:
    """Distance of two sets of images of the same prompts and seeds, with its interval."""
    value = float(variation(before.sum(axis=0), after.sum(axis=0)))
    n = len(before)
    if np.array_equal(before, after):
        return Metric(value, 0.0, wilson(0, n)[1], n)
    low, high = _interval(lambda weights: variation(weights @ before, weights @ after), n)
    return Metric(value, min(low, value), max(high, value), n)


def uneven(counts: Table) -> Metric:
    """Unevenness of a set of images, with its interval."""
    value = float(unevenness(counts.sum(axis=0)))
    low, high = _interval(lambda weights: unevenness(weights @ counts), len(counts))
    return Metric(value, min(low, value), max(high, value), len(counts))


def more_uneven(before: Table, after: Table) -> dict[str, float | int]:
    """Unevenness after minus before, in points, with its interval over the same images."""
    value = float(unevenness(after.sum(axis=0)) - unevenness(before.sum(axis=0)))
    low, high = _interval(lambda weights: unevenness(weights @ after) - unevenness(weights @ before), len(before))
    ends = {"difference": value, "low": min(low, value), "high": max(high, value)}
    return {**{name: rounded(end) for name, end in ends.items()}, "n": len(before)}


def halves(counts: Table) -> dict[str, float | int] | None:
    """Distance of two random halves of one set: its mean and the value below which 95 % are; None for fewer than four images.

    What chance alone gives between sets of half the size, so more than between sets of the full size.
    """
    n = len(counts)
    if n < 4:
        return None
    order = np.argsort(np.random.default_rng(SEED).random((DRAWS, n)), axis=1)
    first = np.zeros((DRAWS, n))
    np.put_along_axis(first, order[:, : n // 2], 1.0, axis=1)
    second = np.zeros((DRAWS, n))
    np.put_along_axis(second, order[:, n // 2 : 2 * (n // 2)], 1.0, axis=1)
    drawn = variation(first @ counts, second @ counts)
    return {"value": rounded(float(drawn.mean())), "high": rounded(float(np.quantile(drawn, CONFIDENCE))), "n": n // 2}


def _interval(of: Callable[[np.ndarray], Any], n: int) -> tuple[float, float]:
    """Ends of the bootstrap's interval of a function of how often each image is drawn, (draws, n)."""
    weights = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    low, high = np.quantile(of(weights), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
