"""A number with its 95 % interval. Pure functions in float64; knows nothing of pictures or detectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
SEED = 0
METHOD = (
    f"{100 * CONFIDENCE:g} %: Wilson for a share of pictures; for a mean of shares percentile bootstrap, {DRAWS} draws, seed {SEED}; "
    "for a mean of scores Student's t"
)

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """A percentage or a score, the two ends of its interval, and the number of pictures behind it."""

    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, float | int]:
        """What report.json holds; so many digits are far below the interval."""
        return {name: rounded(value) for name, value in asdict(self).items()}


@dataclass
class Sums:
    """Accumulator of scores, one a picture: three numbers however many pictures; parts of the work are merged."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, scores: Iterable[float]) -> None:
        """Count these scores."""
        values = np.asarray(list(scores), dtype=np.float64)
        self.n, self.total, self.squares = self.n + len(values), self.total + float(values.sum()), self.squares + float(values @ values)

    def merge(self, other: Sums) -> None:
        """Count what another has counted."""
        self.n, self.total, self.squares = self.n + other.n, self.total + other.total, self.squares + other.squares

    def metric(self, bounds: Bounds | None = None) -> Metric:
        """Their mean."""
        return mean_from_sums(self.n, self.total, self.squares, bounds)


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in percent."""
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
    """Percentile bootstrap of the mean of values in [0, 1], one a picture, in percent.

    Where all are equal, resampling sees no spread and would claim certainty; Wilson's interval stands in, which is wide
    enough because no values in [0, 1] of that mean vary more than zeros and ones do.
    """
    levels, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    n = len(values)
    if n < 1 or levels[0] < 0 or levels[-1] > 1:
        raise ValueError("expected at least one value, all of them in [0, 1]")
    if len(levels) == 1:
        return wilson(float(levels[0]) * n, n, confidence)
    # how often each level is drawn: the same distribution as drawing pictures, and it cannot depend on their order
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws)
    low, high = np.quantile(drawn @ levels / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return 100 * float(low), 100 * float(high)


def rate(hits: Sequence[bool]) -> Metric:
    """Share of pictures that are a hit, with Wilson's interval."""
    return Metric(100 * sum(hits) / len(hits), *wilson(sum(hits), len(hits)), len(hits))


def mean_share(shares: Sequence[float], seed: int = SEED) -> Metric:
    """Mean of a share a picture, with the bootstrap's interval."""
    return Metric(100 * float(np.mean(shares, dtype=np.float64)), *bootstrap_mean(shares, seed), len(shares))


def mean_value(scores: Sequence[float], bounds: Bounds | None = None) -> Metric:
    """Mean of a real-valued score a picture (CLIP score, SSIM), in the score's own unit, with Student's t interval."""
    mean, deviation = mean_and_deviation(scores)
    return Metric(mean, *mean_interval(mean, deviation, len(scores), bounds), len(scores))


def mean_from_sums(n: int, total: float, squares: float, bounds: Bounds | None = None) -> Metric:
    """mean_value from the number of scores, their sum and the sum of their squares."""
    mean, deviation = moments_of_sums(n, total, squares)
    return Metric(mean, *mean_interval(mean, deviation, n, bounds), n)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and unbiased standard deviation (0 of a single value), the same in any order."""
    if not len(values):
        raise ValueError("expected at least one value")
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))


def moments_of_sums(n: int, total: float, squares: float) -> tuple[float, float]:
    """mean_and_deviation from sums; digits are lost where the mean is many times the deviation, half of them at 1e4 times."""
    if n < 1:
        raise ValueError("expected at least one value")
    return total / n, math.sqrt(max(0.0, squares - total**2 / n) / max(1, n - 1))


def mean_interval(mean: float, deviation: float, n: int, bounds: Bounds | None = None) -> tuple[float, float]:
    """Student's t interval of a mean of n values, within `bounds`, the range that values can have.

    A single value says nothing of its spread: the interval is then `bounds`, ValueError without them.
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


def student_tails(t: float, freedom: float) -> float:
    """Probability that Student's t with this many degrees of freedom lies further from 0 than `t`, on either side."""
    return _incomplete_beta(freedom / (freedom + t * t), t * t / (freedom + t * t), freedom / 2, 0.5)


@cache
def student_quantile(p: float, freedom: float) -> float:
    """Where Student's t has probability `p` (over a half) below; scipy has it too, but need not be there to evaluate."""
    tails, high = 2 * (1 - p), 1.0
    while student_tails(high, freedom) > tails:
        high *= 2
    low = 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if student_tails(middle, freedom) > tails else (low, middle)
    return high


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), y = 1 - x: Lentz's algorithm on its continued fraction (DLMF 8.17.22)."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(y, x, b, a)  # there the fraction converges fast
    if x <= 0:
        return 0.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)) / a
    c, d, fraction = 1.0, 1 / (1 - (a + b) * x / (a + 1)), 1 / (1 - (a + b) * x / (a + 1))
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            c, d = 1 + term / c, 1 / (1 + term * d)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction


def rounded(value: float) -> float:
    """Four decimals, six below 1, where distances of distributions lie; more would only show how a sum was ordered."""
    return round(value, 6 if abs(value) < 1 else 4) or 0.0  # no negative zero
