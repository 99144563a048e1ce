"""Kernel distance of two sets of pictures by their features, what KID is for Inception; unbiased, so few pictures are enough.

Works on a bounded sample of the pictures. Which ones belong to it depends on their number and a seed alone, so that any number
of processes keep the same. Knows no feature extractor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from erase.errors import InputError
from erase.task import generator
from eval.metrics.intervals import CONFIDENCE, Metric, student_quantile

LIMIT = 2000
SUBSETS, SIZE = 100, 1000
METHOD = f"{100 * CONFIDENCE:g} %: jackknife over the sample of pictures (at most {LIMIT})"


def kept(total: int, limit: int = LIMIT, seed: int = 0) -> list[int]:
    """Which of `total` pictures are kept: ascending, all of them if there are no more than `limit`."""
    if total <= limit:
        return list(range(total))
    return sorted(torch.randperm(total, generator=generator(seed, "kept", total))[:limit].tolist())


@dataclass
class Sample:
    """Accumulator of the features of the kept pictures: index -> (d,) float32, never more than `limit`."""

    total: int
    limit: int = LIMIT
    seed: int = 0
    rows: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wanted = set(kept(self.total, self.limit, self.seed))

    def update(self, indexes: Iterable[int], features: Tensor) -> None:
        """Keep what belongs to the sample of pictures with these indexes and features (n, d)."""
        for index, row in zip(indexes, features.detach(), strict=True):
            if index in self._wanted:
                self.rows[index] = row.to("cpu", torch.float32).clone()  # a view would keep the whole batch

    def merge(self, other: Sample) -> None:
        """Keep what another process has kept."""
        self.rows.update(other.rows)

    def features(self) -> Tensor:
        """(k, d) in the order of the pictures."""
        return torch.stack([self.rows[index] for index in sorted(self.rows)])

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file; `restore` reads them."""
        return {"indexes": torch.tensor(sorted(self.rows)), "features": self.features()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what tensors() gave."""
        self.update(tensors["indexes"].tolist(), tensors["features"])


def shared(a: Sample, b: Sample) -> tuple[Tensor, Tensor]:
    """Features of the pictures that both samples hold, (k, d) each, row i the same picture index."""
    both = sorted(a.rows.keys() & b.rows.keys())
    if not both:
        raise InputError("the two sets have no picture in common; give pictures of the same prompts and seeds")
    return torch.stack([a.rows[index] for index in both]), torch.stack([b.rows[index] for index in both])


@dataclass(frozen=True)
class Kid:
    """Kernel distance: mean over subsets with its interval, and the standard deviation over subsets that papers print beside it."""

    metric: Metric
    std: float | None
    subsets: int
    size: int

    def record(self) -> dict[str, Any]:
        """What report.json holds."""
        std = None if self.std is None else round(self.std, 6)
        return self.metric.record() | {"std": std, "subsets": self.subsets, "subset_size": self.size}


def kid(x: Tensor, y: Tensor, subsets: int = SUBSETS, size: int = SIZE, seed: int = 0, paired: bool = False) -> Kid:
    """Squared maximum mean discrepancy with the kernel (<x, y>/d + 1)³ of features (n, d), (m, d): Binkowski et al. 2018.

    The mean of the unbiased estimate over seeded subsets; over all rows at once where a subset would be all of them. The
    interval comes from leaving out one picture at a time, not from the subsets, which overlap. `paired`: row i of both is the
    same prompt and seed; their own kernel then says how alike pairs are and not how alike the distributions, so it is left
    out, and equal sets are exactly 0 apart. It may be slightly negative. InputError for fewer than three pictures.
    """
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise InputError(f"a kernel distance needs at least three pictures on each side; got {n} and {m}")
    if paired and n != m:
        raise ValueError(f"paired sets hold equally many pictures; got {n} and {m}")
    if paired and torch.equal(x, y):
        return Kid(Metric(0.0, 0.0, 0.0, n), None, 1, n)
    kernels = _kernels(x.double(), y.double(), paired)
    if size >= max(n, m):
        subsets, size = 1, min(n, m)
        values = _unbiased(kernels[0].sum(), kernels[1].sum(), kernels[2].sum(), n, m, paired).reshape(1)
    else:
        size = min(size, n, m)
        values = _subset_values(kernels, subsets, size, seed, paired)
    value, std = float(values.mean()), float(values.std()) if subsets > 1 else None
    half = student_quantile((1 + CONFIDENCE) / 2, min(n, m) - 1) * math.sqrt(_variance(kernels, paired))
    return Kid(Metric(value, value - half, value + half, min(n, m)), std, subsets, size)


Kernels = tuple[Tensor, Tensor, Tensor]  # within x (n, n), within y (m, m), across (n, m)


def _kernels(x: Tensor, y: Tensor, paired: bool) -> Kernels:
    """A picture with itself, and with its pair, counts 0."""
    within_x, within_y, across = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    for kernel in (within_x, within_y, across)[: 3 if paired else 2]:
        kernel.fill_diagonal_(0)
    return within_x, within_y, across


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int, paired: bool) -> Tensor:
    """The estimate from sums of the three kernels over n and m pictures."""
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * (n - 1) if paired else n * m)


def _subset_values(kernels: Kernels, subsets: int, size: int, seed: int, paired: bool) -> Tensor:
    """The estimate on each subset; rows of zeros and ones choose it, so that one product sums all of them."""
    xx, yy, xy = kernels
    s = _chosen(len(xx), subsets, size, seed, "x")
    t = s if paired else _chosen(len(yy), subsets, size, seed, "y")
    sums = ((s @ xx * s).sum(1), (t @ yy * t).sum(1), (s @ xy * t).sum(1))
    return _unbiased(*sums, size, size, paired)


def _chosen(n: int, subsets: int, size: int, seed: int, side: str) -> Tensor:
    chosen = torch.zeros(subsets, n, dtype=torch.float64)
    random = generator(seed, "subsets", side)
    for row in chosen:
        row[torch.randperm(n, generator=random)[:size]] = 1
    return chosen


def _variance(kernels: Kernels, paired: bool) -> float:
    """Jackknife of the estimate over all rows: without picture i its sums lack row and column i."""
    xx, yy, xy = kernels
    n, m = xy.shape
    in_x, in_y, of_x, of_y = 2 * xx.sum(1), 2 * yy.sum(1), xy.sum(1), xy.sum(0)
    sums = xx.sum(), yy.sum(), xy.sum()
    if paired:
        return _jackknife(_unbiased(sums[0] - in_x, sums[1] - in_y, sums[2] - of_x - of_y, n - 1, n - 1, True))
    without_x = _unbiased(sums[0] - in_x, sums[1], sums[2] - of_x, n - 1, m, False)
    without_y = _unbiased(sums[0], sums[1] - in_y, sums[2] - of_y, n, m - 1, False)
    return _jackknife(without_x) + _jackknife(without_y)


def _jackknife(without: Tensor) -> float:
    """Variance of an estimate from its values with one of the n elements left out."""
    return float((without - without.mean()).square().sum()) * (len(without) - 1) / len(without)
