"""How far the features of two sets of pictures lie apart, taken as two normal distributions: what FID is for Inception features.

Sums in float64 stand for the pictures, so memory does not grow with their number; knows no feature extractor. A number says
which network its features come from: only that of 2048 Inception features is called FID (`name_of`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from erase.errors import InputError
from eval.metrics.intervals import CONFIDENCE, Metric, student_quantile

METHOD = f"{100 * CONFIDENCE:g} %: infinitesimal jackknife over the sample of pictures: how far other pictures would move it, not its bias"
FID = 2048


@dataclass
class Moments:
    """Accumulator of features: pictures, sum (d,) and sum of outer products (d, d), in float64 on the CPU."""

    n: int
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Before the first picture."""
        return cls(0, torch.zeros(dimension, dtype=torch.float64), torch.zeros(dimension, dimension, dtype=torch.float64))

    def update(self, features: Tensor) -> None:
        """Count pictures by their features (n, d); ValueError if one is not finite, which would spoil all of them."""
        rows = features.detach().to("cpu", torch.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.total) or not rows.isfinite().all():
            raise ValueError(f"expected finite features (n, {len(self.total)}); got {tuple(features.shape)}, or some that are not finite")
        self.n += len(rows)
        self.total += rows.sum(0)
        self.outer += rows.T @ rows

    def merge(self, other: Moments) -> None:
        """Count what another process has counted."""
        self.n, self.total, self.outer = self.n + other.n, self.total + other.total, self.outer + other.outer

    def mean(self) -> Tensor:
        """(d,)"""
        return self.total / self.n

    def covariance(self) -> Tensor:
        """(d, d), unbiased, as FID's reference code has it."""
        return (self.outer - torch.outer(self.total, self.total) / self.n) / (self.n - 1)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file; `Moments.of` reads them."""
        return {"n": torch.tensor(self.n), "total": self.total, "outer": self.outer}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """What tensors() gave."""
        return cls(int(tensors["n"]), tensors["total"].clone(), tensors["outer"].clone())


@dataclass(frozen=True)
class Frechet:
    """A distance with its interval; `reason` says why it is not to be relied on, None if it is."""

    metric: Metric
    reason: str | None

    @property
    def reliable(self) -> bool:
        """Whether both covariances have full rank."""
        return self.reason is None

    def record(self) -> dict[str, Any]:
        """What report.json holds: that of any metric, and what makes it doubtful."""
        return self.metric.record() | {"reliable": self.reliable} | ({} if self.reliable else {"reason": self.reason})


def name_of(extractor: Mapping[str, Any]) -> str:
    """What a distance over these features (facts of an extractor) may be called; 64 Inception features make no FID."""
    inception = str(extractor["name"]).lower().startswith("inception")
    return "fid" if inception and extractor["dimension"] == FID else f"frechet_{extractor['name']}_{extractor['dimension']}".lower()


def frechet(a: Moments, b: Moments, x: Tensor, y: Tensor | None = None, paired: bool = False) -> Frechet:
    """Distance of two sets of pictures with an interval; (k, d) `x` and `y` are features of some pictures of `a` and of `b`.

    The interval is the infinitesimal jackknife (Efron 1982): the variance of the pictures' influences over their number.
    For this distance it is also the delta method (Rippl, Munk, Sturm 2016). The distance's bias, upwards and about as 1/n,
    is not in it: compare only distances of equally many pictures (Chong and Forsyth 2020). `y` None: `b` is given, without
    chance, as published reference statistics are. `paired`: row i of x and y are the same prompt and seed, which most often
    narrows it. InputError for fewer than two pictures.
    """
    if min(a.n, b.n, len(x), len(x) if y is None else len(y)) < 2:
        raise InputError(f"a distance of distributions needs at least two pictures on each side; got {a.n} and {b.n}")
    if paired and (y is None or a.n != b.n or x.shape != y.shape):
        raise ValueError("paired sets hold equally many pictures, and samples of the same ones")
    value = frechet_distance(a.mean(), a.covariance(), b.mean(), b.covariance())
    error = math.sqrt(_variance(a, b, x, y, paired)) if value else 0.0
    half = student_quantile((1 + CONFIDENCE) / 2, len(x) - 1) * error
    return Frechet(Metric(value, max(0.0, value - half), value + half, min(a.n, b.n)), _doubt(a, b))


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """|m1 - m2|² + tr C1 + tr C2 - 2 tr (C1^½ C2 C1^½)^½ (Dowson and Landau 1982); 0.0 for equal arguments, never negative.

    Only symmetric eigenproblems, so singular covariances need no small number added to them.
    """
    ours, theirs = _ordered(mean1, cov1, mean2, cov2)
    if torch.equal(mean1, mean2) and torch.equal(cov1, cov2):
        return 0.0  # the sum below would leave its rounding
    (m, c), (k, b) = ours, theirs
    root = _power(*_eigen(c), 0.5)
    values = _clean(torch.linalg.eigvalsh(_symmetric(root @ b @ root)))
    return max(0.0, float((m - k).square().sum() + c.trace() + b.trace() - 2 * values.sqrt().sum()))


def influences(a: Moments, b: Moments, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How each picture pulls at the distance, up to a constant: its derivative in the picture's weight, for x (k, d) and y (l, d).

    By the optimal maps T between the two: 2 <m1 - m2, u> + u'(I - T) u for u = x - m1, and the same from the other side. Where
    a covariance is singular T is its pseudo-inverse's, as weights move a set only within its own span.
    """
    c, b_cov = a.covariance(), b.covariance()
    values, vectors = _eigen(c)
    root, inverse = _power(values, vectors, 0.5), _power(values, vectors, -0.5)
    values, vectors = _eigen(_symmetric(root @ b_cov @ root))
    there = inverse @ _power(values, vectors, 0.5) @ inverse
    back = root @ _power(values, vectors, -0.5) @ root
    u, v, shift = x.double() - a.mean(), y.double() - b.mean(), a.mean() - b.mean()
    pull = [2 * u @ shift + (u * (u - u @ there)).sum(1), -2 * v @ shift + (v * (v - v @ back)).sum(1)]
    return pull[0], pull[1]


def _variance(a: Moments, b: Moments, x: Tensor, y: Tensor | None, paired: bool) -> float:
    """Of the distance; the samples say how influences vary, the numbers of pictures how far that averages out."""
    ours, theirs = influences(a, b, x, x[:0] if y is None else y)
    if paired:
        return float((ours + theirs).var()) / a.n
    return float(ours.var()) / a.n + (0.0 if y is None else float(theirs.var()) / b.n)


def _doubt(a: Moments, b: Moments) -> str | None:
    fewer, d = min(a.n, b.n), len(a.total)
    if fewer > d:
        return None
    return f"{fewer} pictures for {d} features: the covariance is singular and the distance much too large; give more than {d}"


def _ordered(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """In float64, and in an order that is the same if the two change places: so does the rounding then."""
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
    """Eigenvalues of a covariance: what is below rounding is 0, for the root of 1e-16 is no longer small."""
    return torch.where(values > values.max() * len(values) * torch.finfo(values.dtype).eps, values, 0.0)


def _power(values: Tensor, vectors: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix on its range."""
    return (vectors * torch.where(values > 0, values, 1.0).pow(power).where(values > 0, 0.0)) @ vectors.T
