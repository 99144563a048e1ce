"""A number with its 95 % interval. Pure functions in float64; knows nothing of pictures or detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
SEED = 0
METHOD = f"{100 * CONFIDENCE:g} %: Wilson for a share of pictures; for a mean of shares percentile bootstrap, {DRAWS} draws, seed {SEED}"


@dataclass(frozen=True)
class Metric:
    """A percentage, the two ends of its interval, and the number of pictures behind it."""

    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, float | int]:
        """What report.json holds; four digits are far below the interval."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


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
