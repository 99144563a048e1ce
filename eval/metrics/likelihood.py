"""How likely latents are as the noise that sampling starts from: their negative log-likelihood, and the distance of two sets of them.

Memories of Forgotten Concepts (Rusanovsky et al., CVPR 2025, arXiv 2412.00782): images of a concept are traced back to noise, and the
noise is compared with that of other images and with noise that was drawn. Pure functions in float64. Here the likelihood is per value
of the latents, in nats, so it depends on no image size; the paper's is the sum over all values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.intervals import CONFIDENCE, DRAWS, SEED, mean_value, rounded

METHOD = f"means: Student's t; distances: percentile bootstrap, {DRAWS} draws, seed {SEED}"
NOISE = 0.5 * (1 + math.log(2 * math.pi))  # expected value for standard normal values, per value
IDENTICAL = 100.0  # dB of two equal images, for which the ratio is infinite

Moments = tuple[float, float]
"""Mean and standard deviation."""


def of_latents(values: np.ndarray) -> list[float]:
    """Negative log-likelihood of each latent (n, ...) under the standard normal, in nats per value."""
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    return [float(one) for one in 0.5 * (np.square(flat).mean(axis=1) + math.log(2 * math.pi))]


def of_noise(dimension: int) -> Moments:
    """Mean and standard deviation of the likelihood of standard normal noise of that many values, exactly."""
    return NOISE, math.sqrt(1 / (2 * dimension))


def psnr(first: np.ndarray, second: np.ndarray, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio of two images in dB."""
    error = float(np.square(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)).mean())
    return min(IDENTICAL, 10 * math.log10(peak**2 / error)) if error else IDENTICAL


def wasserstein(first: Moments, second: Moments) -> float:
    """2-Wasserstein distance of two normal distributions; the paper reports the square of it, of sums over all values."""
    return math.hypot(first[0] - second[0], first[1] - second[1])


def moments(values: Sequence[float]) -> Moments:
    """Those of the normal distribution that is fitted to values: the deviation is the maximum-likelihood one."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std())


def distance(values: Sequence[float], others: Sequence[float] | Moments) -> dict[str, Any]:
    """Distance of the distribution of `values` from that of `others`, or from known moments, with its interval."""
    known = isinstance(others, tuple)
    value = wasserstein(moments(values), others if known else moments(others))  # type: ignore[arg-type]
    random = np.random.default_rng(SEED)
    first = _resampled(values, random)
    second = np.asarray(others, dtype=np.float64)[:, None] if known else _resampled(others, random)
    drawn = np.hypot(first[0] - second[0], first[1] - second[1])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"value": rounded(value), "low": rounded(min(float(low), value)), "high": rounded(max(float(high), value)), "n": len(values)}


def _resampled(values: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Mean and deviation (2, DRAWS) of resamples."""
    array = np.asarray(values, dtype=np.float64)
    drawn = array[random.integers(0, len(array), (DRAWS, len(array)))]
    return np.stack([drawn.mean(axis=1), drawn.std(axis=1)])


def mean_record(values: Sequence[float]) -> dict[str, Any]:
    """A mean with its interval as in report.json; a single value has none."""
    if len(values) > 1:
        return dict(mean_value(values).record())
    return {"value": rounded(values[0]), "low": None, "high": None, "n": 1}
