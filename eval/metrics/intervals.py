"""A number with its 95 % interval: proportions, means of shares, means of scores. Pure functions in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
SEED = 0
METHOD = (
    f"{100 * CONFIDENCE:g} %: Wilson for a share of images; for a mean of shares percentile bootstrap, {DRAWS} draws, seed {SEED}; "
    "for a mean of scores Student's t"
)

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """A percentage or a score, the two ends of its 95 % interval, and the number of images it was computed from."""

    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, float | int]:
        """The record in report.json; the digits that are rounded away are far below the interval."""
        return {name: rounded(value) for name, value in asdict(self).items()}


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in percent.

    In closed form, since the mean of shares is a proportion whose `successes` need not be a whole number, nor its number of
    observations (`eval.metrics.clusters`), as scipy.stats.binomtest requires; of whole numbers it is scipy's.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are not a proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    low = 0.0 if successes == 0 else centre - half  # at the ends the formula is exact but its rounding is not
    high = 1.0 if successes == n else centre + half
    return 100 * low, 100 * high


def bootstrap_mean(values: Sequence[float], seed: int, confidence: float = CONFIDENCE, draws: int = DRAWS) -> tuple[float, float]:
    """Percentile bootstrap of the mean of values in [0, 1], one per image, in percent.

    Where all values are equal, resampling has no spread and would claim certainty. Wilson's interval replaces it: it is wide
    enough, because among values in [0, 1] with that mean, zeros and ones have the largest variance.
    """
    levels, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    n = len(values)
    if n < 1 or levels[0] < 0 or levels[-1] > 1:
        raise ValueError("expected at least one value, all of them in [0, 1]")
    if len(levels) == 1:
        return wilson(float(levels[0]) * n, n, confidence)
    # how often each level is drawn: the same distribution as resampling images, and independent of their order
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws)
    low, high = np.quantile(drawn @ levels / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return 100 * float(low), 100 * float(high)


def rate(hits: Sequence[bool]) -> Metric:
    """Share of images that are a hit, in percent, with Wilson's interval."""
    return Metric(100 * sum(hits) / len(hits), *wilson(sum(hits), len(hits)), len(hits))


def mean_share(shares: Sequence[float], seed: int = SEED) -> Metric:
    """Mean of one share in [0, 1] per image, in percent, with the bootstrap's interval."""
    return Metric(100 * float(np.mean(shares, dtype=np.float64)), *bootstrap_mean(shares, seed), len(shares))


def mean_value(scores: Sequence[float], bounds: Bounds | None = None) -> Metric:
    """Mean of one real-valued score per image (CLIP score, SSIM), in the score's own unit, with Student's t interval."""
    mean, deviation = mean_and_deviation(scores)
    return Metric(mean, *mean_interval(mean, deviation, len(scores), bounds), len(scores))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and unbiased standard deviation (0 of a single value), the same in any order."""
    if not len(values):
        raise ValueError("expected at least one value")
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))


def mean_interval(mean: float, deviation: float, n: int, bounds: Bounds | None = None) -> tuple[float, float]:
    """Student's t interval of a mean of n values, within `bounds`, the range that values can have.

    A single value has no spread: its interval is `bounds`, and without bounds it is a ValueError.
    """
    if not math.isfinite(mean):
        raise ValueError("a value is not finite, so neither is the mean")
    if n < 2 and bounds is None:
        raise ValueError("one value has no interval unless the bounds of the values are given")
    if n < 2:
        return bounds or (mean, mean)
    half = student_quantile((1 + CONFIDENCE) / 2, n - 1) * deviation / math.sqrt(n) if deviation else 0.0
    low, high = bounds or (-math.inf, math.inf)
    return max(low, mean - half), min(high, mean + half)


@cache
def student_quantile(p: float, freedom: float) -> float:
    """The quantile `p` of Student's t distribution with `freedom` degrees of freedom."""
    from scipy import stats  # half a second to import, which `--help` need not pay

    return float(stats.t.ppf(p, freedom))


def rounded(value: float) -> float:
    """Four decimals, six below 1, where distances of distributions lie; more would only show how a sum was ordered."""
    return round(value, 6 if abs(value) < 1 else 4) or 0.0  # no negative zero
