"""Fréchet distance of two image sets: of two normal distributions fitted to their features (FID, for Inception features).

Moments accumulates sums in float64, so memory does not grow with the number of images. The distance is named after the network
of its features: only that of 2048 Inception features is called FID (`name_of`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erase.errors import InputError
from eval.metrics.intervals import CONFIDENCE, Metric, student_quantile

METHOD = f"{100 * CONFIDENCE:g} %: infinitesimal jackknife over the sample of images: how far other images would move it, not its bias"
FID = 2048


class Gaussian(NamedTuple):
    """A normal distribution of features."""

    mean: Tensor
    covariance: Tensor


@dataclass
class Moments:
    """Accumulator of features: number of images, sum (d,) and sum of outer products (d, d), in float64 on the CPU."""

    n: int
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """The state before the first image."""
        return cls(0, torch.zeros(dimension, dtype=torch.float64), torch.zeros(dimension, dimension, dtype=torch.float64))

    def update(self, features: Tensor) -> None:
        """Add images by their features (n, d); ValueError if a feature is not finite, which would make every sum so."""
        rows = features.detach().to("cpu", torch.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.total) or not rows.isfinite().all():
            raise ValueError(f"expected finite features (n, {len(self.total)}); got {tuple(features.shape)}, or some that are not finite")
        self.n += len(rows)
        self.total += rows.sum(0)
        self.outer += rows.T @ rows

    def merge(self, other: Moments) -> None:
        """Add the images of another accumulator (of another process)."""
        self.n, self.total, self.outer = self.n + other.n, self.total + other.total, self.outer + other.outer

    def compute(self) -> Gaussian:
        """Mean (d,) and unbiased covariance (d, d) of the images so far, as in FID's reference code."""
        mean = self.total / self.n
        return Gaussian(mean, (self.outer - torch.outer(self.total, self.total) / self.n) / (self.n - 1))

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors, for a safetensors file."""
        return {"n": torch.tensor(self.n), "total": self.total, "outer": self.outer}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Moments:
        """An accumulator with the state that `state_dict` returned."""
        return cls(int(state["n"]), state["total"].clone(), state["outer"].clone())


@dataclass(frozen=True)
class Frechet:
    """A distance with its interval; `reason` says why it is not reliable, None if it is."""

    metric: Metric
    reason: str | None

    @property
    def reliable(self) -> bool:
        """Whether both covariances have full rank."""
        return self.reason is None

    def record(self) -> dict[str, Any]:
        """The record in report.json: that of any metric, `reliable`, and the reason where it is not."""
        return self.metric.record() | {"reliable": self.reliable} | ({} if self.reliable else {"reason": self.reason})


def name_of(extractor: Mapping[str, Any]) -> str:
    """The name of a distance over the features of an extractor (its facts); one over 64 Inception features is not FID."""
    inception = str(extractor["name"]).lower().startswith("inception")
    return "fid" if inception and extractor["dimension"] == FID else f"frechet_{extractor['name']}_{extractor['dimension']}".lower()


def frechet(a: Moments, b: Moments, x: Tensor, y: Tensor | None = None, paired: bool = False) -> Frechet:
    """Distance of two image sets with its interval; `x` and `y` (k, d) are features of a sample of the images of `a` and `b`.

    The interval is the infinitesimal jackknife (Efron 1982): the variance of the images' influences over their number.
    For this distance it is also the delta method (Rippl, Munk, Sturm 2016). It does not cover the bias, which is upward and
    about proportional to 1/n: compare only distances over the same number of images (Chong and Forsyth 2020). `y` None: `b` is
    fixed, without sampling error, like published reference statistics. `paired`: row i of x and y are the same prompt and seed,
    which mostly narrows the interval. InputError for fewer than two images.
    """
    if min(a.n, b.n, len(x), len(x) if y is None else len(y)) < 2:
        raise InputError(f"a distance of distributions needs at least two images on each side; got {a.n} and {b.n}")
    if paired and (y is None or a.n != b.n or x.shape != y.shape):
        raise ValueError("paired sets have the same number of images, and samples of the same ones")
    value = frechet_distance(*a.compute(), *b.compute())
    error = math.sqrt(_variance(a, b, x, y, paired)) if value else 0.0
    half = student_quantile((1 + CONFIDENCE) / 2, len(x) - 1) * error
    return Frechet(Metric(value, max(0.0, value - half), value + half, min(a.n, b.n)), _doubt(a, b))


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """|m1 - m2|² + tr C1 + tr C2 - 2 tr (C1^½ C2 C1^½)^½ (Dowson and Landau 1982); 0.0 for equal arguments, never negative.

    It solves symmetric eigenproblems only, so singular covariances need no regularisation.
    """
    ours, theirs = _ordered(mean1, cov1, mean2, cov2)
    if torch.equal(mean1, mean2) and torch.equal(cov1, cov2):
        return 0.0  # the sum below would leave a rounding error
    (m, c), (k, b) = ours, theirs
    root = _power(*_eigen(c), 0.5)
    values = _clean(torch.linalg.eigvalsh(_symmetric(root @ b @ root)))
    return max(0.0, float((m - k).square().sum() + c.trace() + b.trace() - 2 * values.sqrt().sum()))


def influences(a: Moments, b: Moments, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Influence of each image on the distance, up to a constant: the derivative in its weight, for x (k, d) and y (l, d).

    By the optimal transport maps T between the two: 2 <m1 - m2, u> + u'(I - T) u for u = x - m1, and the same for the other side.
    Where a covariance is singular, T uses its pseudo-inverse, since weights move a set only within its own span.
    """
    (mean_a, cov_a), (mean_b, cov_b) = a.compute(), b.compute()
    values, vectors = _eigen(cov_a)
    root, inverse = _power(values, vectors, 0.5), _power(values, vectors, -0.5)
    values, vectors = _eigen(_symmetric(root @ cov_b @ root))
    forward = inverse @ _power(values, vectors, 0.5) @ inverse
    back = root @ _power(values, vectors, -0.5) @ root
    u, v, shift = x.double() - mean_a, y.double() - mean_b, mean_a - mean_b
    return 2 * u @ shift + (u * (u - u @ forward)).sum(1), -2 * v @ shift + (v * (v - v @ back)).sum(1)


def _variance(a: Moments, b: Moments, x: Tensor, y: Tensor | None, paired: bool) -> float:
    """Variance of the distance: that of the influences in the samples, over the number of images."""
    ours, theirs = influences(a, b, x, x[:0] if y is None else y)
    if paired:
        return float((ours + theirs).var()) / a.n
    return float(ours.var()) / a.n + (0.0 if y is None else float(theirs.var()) / b.n)


def _doubt(a: Moments, b: Moments) -> str | None:
    fewer, d = min(a.n, b.n), len(a.total)
    if fewer > d:
        return None
    return f"{fewer} images for {d} features: the covariance is singular and the distance much too large; give more than {d}"


def _ordered(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both in float64, in an order that does not depend on which comes first, so that the rounding does not either."""
    sides = ((m1.double(), c1.double()), (m2.double(), c2.double()))
    apart = (torch.cat([sides[0][0], sides[0][1].flatten()]) - torch.cat([sides[1][0], sides[1][1].flatten()])).sign()
    first = apart[apart.ne(0).to(torch.uint8).argmax()]
    return sides if first >= 0 else (sides[1], sides[0])


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return _clean(values), vectors


def _clean(values: Tensor) -> Tensor:
    """Eigenvalues of a covariance with those below rounding set to 0: the root of 1e-16 would not be small."""
    return torch.where(values > values.max() * len(values) * torch.finfo(values.dtype).eps, values, 0.0)


def _power(values: Tensor, vectors: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix on its range."""
    return (vectors * torch.where(values > 0, values, 1.0).pow(power).where(values > 0, 0.0)) @ vectors.T
