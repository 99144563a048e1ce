"""Kernel distance of two image sets by their features (KID, for Inception features); unbiased, so few images are enough.

It works on a bounded sample of the images. Which images belong to the sample depends only on their number and a seed, so any
number of processes select the same ones.
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
METHOD = f"{100 * CONFIDENCE:g} %: jackknife over the sample of images (at most {LIMIT})"


def sampled_indexes(total: int, limit: int = LIMIT, seed: int = 0) -> list[int]:
    """Indexes of the images in the sample, ascending; all of `total` if there are no more than `limit`."""
    if total <= limit:
        return list(range(total))
    return sorted(torch.randperm(total, generator=generator(seed, "kept", total))[:limit].tolist())


@dataclass
class Sample:
    """Accumulator of the features of the sampled images: index -> (d,) float32, at most `limit`."""

    total: int
    limit: int = LIMIT
    seed: int = 0
    rows: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._members = set(sampled_indexes(self.total, self.limit, self.seed))

    def update(self, indexes: Iterable[int], features: Tensor) -> None:
        """Add the images that belong to the sample, by their indexes and features (n, d)."""
        for index, row in zip(indexes, features.detach(), strict=True):
            if index in self._members:
                self.rows[index] = row.to("cpu", torch.float32).clone()  # a view would keep the whole batch

    def merge(self, other: Sample) -> None:
        """Add the images of another accumulator (of another process)."""
        self.rows.update(other.rows)

    def compute(self) -> Tensor:
        """The features (k, d), ordered by image index."""
        return torch.stack([self.rows[index] for index in sorted(self.rows)])

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors, for a safetensors file."""
        return {"indexes": torch.tensor(sorted(self.rows)), "features": self.compute()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned."""
        self.update(state["indexes"].tolist(), state["features"])


def shared(a: Sample, b: Sample) -> tuple[Tensor, Tensor]:
    """Features of the images that are in both samples, (k, d) each; row i is the same image index."""
    both = sorted(a.rows.keys() & b.rows.keys())
    if not both:
        raise InputError("the two sets have no image in common; give images of the same prompts and seeds")
    return torch.stack([a.rows[index] for index in both]), torch.stack([b.rows[index] for index in both])


@dataclass(frozen=True)
class Kid:
    """Kernel distance: mean over subsets with its interval, and the standard deviation over subsets, which papers report."""

    metric: Metric
    std: float | None
    subsets: int
    size: int

    def record(self) -> dict[str, Any]:
        """The record in report.json."""
        std = None if self.std is None else round(self.std, 6)
        return self.metric.record() | {"std": std, "subsets": self.subsets, "subset_size": self.size}


def kid(x: Tensor, y: Tensor, subsets: int = SUBSETS, size: int = SIZE, seed: int = 0, paired: bool = False) -> Kid:
    """Squared maximum mean discrepancy with the kernel (<x, y>/d + 1)³ of features (n, d), (m, d): Binkowski et al. 2018.

    The mean of the unbiased estimate over seeded subsets, or the estimate over all rows where a subset would be all of them. The
    interval is the jackknife (leaving out one image at a time), not the spread of the subsets, which overlap. `paired`: row i of
    both is the same prompt and seed; the kernel of a pair then measures how similar the pair is, not the distributions, so it is
    left out, and equal sets have distance exactly 0. The value may be slightly negative. InputError for fewer than three images.
    """
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise InputError(f"a kernel distance needs at least three images on each side; got {n} and {m}")
    if paired and n != m:
        raise ValueError(f"paired sets have the same number of images; got {n} and {m}")
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
    """The kernel of an image with itself, and where paired with its pair, is 0."""
    within_x, within_y, across = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    for kernel in (within_x, within_y, across)[: 3 if paired else 2]:
        kernel.fill_diagonal_(0)
    return within_x, within_y, across


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int, paired: bool) -> Tensor:
    """The unbiased estimate from the sums of the three kernels over n and m images."""
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * (n - 1) if paired else n * m)


def _subset_values(kernels: Kernels, subsets: int, size: int, seed: int, paired: bool) -> Tensor:
    """The estimate on each subset. A subset is a row of zeros and ones, so one matrix product sums all of them."""
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
    """Jackknife of the estimate over all rows: without image i, its sums lack row and column i."""
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
