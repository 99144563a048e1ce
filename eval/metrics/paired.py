"""Paired comparison of two models on the same prompts and seeds: difference, interval and test. Pure functions.

Some prompts and some noise are harder than others for both models. Comparing pair by pair removes that variance, so it detects
differences that two separate intervals hide. "Before" is the first model, "after" the second; differences are after - before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

from eval.metrics.intervals import CONFIDENCE, Bounds, mean_and_deviation, mean_interval, rounded

METHOD = (
    f"{100 * CONFIDENCE:g} %, same prompts and seeds, after - before: for shares of images Tango's score interval and the exact "
    "McNemar test; for means Student's t of the differences"
)


@dataclass(frozen=True)
class Paired:
    """after - before with its 95 % interval, two-sided p (probability of a difference this large by chance), number of pairs."""

    difference: float
    low: float
    high: float
    p: float
    n: int

    def record(self) -> dict[str, float | int]:
        """The record in report.json; p keeps four significant digits, however small."""
        return {name: float(f"{value:.4g}") if name == "p" else rounded(value) for name, value in asdict(self).items()}


def paired_rates(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Difference of two shares of images in percentage points; element i of both is the same prompt and seed."""
    if len(before) != len(after) or not len(before):
        raise ValueError(f"expected pairs; got {len(before)} before and {len(after)} after")
    gained = sum(bool(b) < bool(a) for b, a in zip(before, after, strict=True))
    lost = sum(bool(b) > bool(a) for b, a in zip(before, after, strict=True))
    low, high = tango(gained, lost, len(before))
    return Paired(100 * (gained - lost) / len(before), low, high, mcnemar(gained, lost), len(before))


def paired_means(differences: Sequence[float], bounds: Bounds | None = None) -> Paired:
    """Mean of after - before, one difference per pair, in their own unit; `bounds` as in mean_interval."""
    mean, deviation = mean_and_deviation(differences)
    n = len(differences)
    return Paired(mean, *mean_interval(mean, deviation, n, bounds), _p_of_mean(mean, deviation, n), n)


def mcnemar(gained: int, lost: int) -> float:
    """Exact McNemar test: two-sided p of the discordant pairs under a fair coin; 1 without discordant pairs."""
    from scipy import stats  # slow to import

    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def tango(gained: float, lost: float, n: float) -> tuple[float, float]:
    """Score interval of the difference of two paired proportions, in percentage points.

    Tango, Statistics in Medicine 17 (1998) 891-908: the differences that the score test does not reject. Fagerland,
    Lydersen and Laake (Statistics in Medicine 33, 2014) recommend it. Without discordant pairs it is +-z²/(n + z²), not a point.
    """
    return -100 * _upper(lost, gained, n), 100 * _upper(gained, lost, n)


def _upper(gained: float, lost: float, n: float) -> float:
    """The largest difference that is not rejected, by bisection: the score decreases in the hypothetical difference."""
    low, high = (gained - lost) / n, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _score(gained, lost, n, middle) > -z else (low, middle)
    return high


def _score(gained: float, lost: float, n: float, difference: float) -> float:
    """Tango's statistic, standard normal under the true `difference`; `share` is the maximum-likelihood share of lost pairs."""
    linear = (2 * n - gained + lost) * difference - gained - lost
    share = (math.sqrt(linear**2 + 8 * n * lost * difference * (1 - difference)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return (gained - lost - n * difference) / math.sqrt(variance) if variance > 0 else -math.inf


def _p_of_mean(mean: float, deviation: float, n: int) -> float:
    """Two-sided p of Student's t; where all differences are equal, t would claim certainty, so the sign test replaces it."""
    if mean == 0 or n < 2:
        return 1.0
    if not deviation:
        return 2.0 ** (1 - n)
    from scipy import stats  # slow to import

    return float(2 * stats.t.sf(abs(mean) / (deviation / math.sqrt(n)), n - 1))
