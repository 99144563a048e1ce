"""Two models on the same prompts and seeds: is the difference more than chance? Pure functions; knows nothing of pictures.

Pairs share what the prompt and the noise make easy or hard, so a paired comparison sees differences that two separate
intervals hide. "Before" is the first model, "after" the second; differences are after - before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

from eval.metrics.intervals import CONFIDENCE, Bounds, mean_and_deviation, mean_interval, moments_of_sums, rounded, student_tails

METHOD = (
    f"{100 * CONFIDENCE:g} %, same prompts and seeds, after - before: for shares of pictures Tango's score interval and the exact "
    "McNemar test; for means Student's t of the differences"
)


@dataclass(frozen=True)
class Paired:
    """after - before with its interval, the two-sided probability of as large a difference by chance, and the pairs behind it."""

    difference: float
    low: float
    high: float
    p: float
    n: int

    def record(self) -> dict[str, float | int]:
        """What report.json holds; p keeps four significant digits, however small."""
        return {name: float(f"{value:.4g}") if name == "p" else rounded(value) for name, value in asdict(self).items()}


def paired_rates(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Difference of two shares of pictures in percentage points; element i of both is the same prompt and seed."""
    if len(before) != len(after) or not len(before):
        raise ValueError(f"expected pairs; got {len(before)} before and {len(after)} after")
    gained = sum(bool(b) < bool(a) for b, a in zip(before, after, strict=True))
    lost = sum(bool(b) > bool(a) for b, a in zip(before, after, strict=True))
    low, high = tango(gained, lost, len(before))
    return Paired(100 * (gained - lost) / len(before), low, high, mcnemar(gained, lost), len(before))


def paired_means(differences: Sequence[float], bounds: Bounds | None = None) -> Paired:
    """Mean of after - before, one a pair, in their own unit; for `bounds` see mean_interval."""
    return _paired(*mean_and_deviation(differences), len(differences), bounds)


def paired_from_sums(n: int, total: float, squares: float, bounds: Bounds | None = None) -> Paired:
    """paired_means from the number of differences, their sum and the sum of their squares."""
    return _paired(*moments_of_sums(n, total, squares), n, bounds)


def mcnemar(gained: int, lost: int) -> float:
    """Exact McNemar test: the two-sided p that the discordant pairs fall as a fair coin does (no discordant pairs: 1)."""
    n, term, tail = gained + lost, 1, 0
    for i in range(min(gained, lost) + 1):
        tail += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * tail / (1 << n))  # whole numbers, so neither overflow nor rounding before the division


def tango(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Score interval of the difference of two paired proportions, in percentage points.

    Tango, Statistics in Medicine 17 (1998) 891-908: the differences that the score test does not reject. Of the closed and
    iterated intervals compared by Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014) among those they advise;
    without discordant pairs it is +-z²/(n + z²) and not a point.
    """
    return -100 * _upper(lost, gained, n), 100 * _upper(gained, lost, n)


def _upper(gained: int, lost: int, n: int) -> float:
    """The largest difference not rejected, by halving: the score falls as the supposed difference grows."""
    low, high = (gained - lost) / n, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _score(gained, lost, n, middle) > -z else (low, middle)
    return high


def _score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic, standard normal if `difference` is the true one; `share` is the likeliest of lost pairs under it."""
    linear = (2 * n - gained + lost) * difference - gained - lost
    share = (math.sqrt(linear**2 + 8 * n * lost * difference * (1 - difference)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return (gained - lost - n * difference) / math.sqrt(variance) if variance > 0 else -math.inf


def _paired(mean: float, deviation: float, n: int, bounds: Bounds | None) -> Paired:
    return Paired(mean, *mean_interval(mean, deviation, n, bounds), _p_of_mean(mean, deviation, n), n)


def _p_of_mean(mean: float, deviation: float, n: int) -> float:
    """Of Student's t; where all differences are equal it would claim certainty, and the sign test stands in."""
    if mean == 0 or n < 2:
        return 1.0
    return student_tails(mean / (deviation / math.sqrt(n)), n - 1) if deviation else 2.0 ** (1 - n)
