"""Shares of images that come in clusters, such as all images of one search: a cluster counts as one observation.

The images of a cluster may all agree because they share what was searched for, so their number says nothing of the spread between
searches. Here a cluster is one observation, whose value is its share of hits. The intervals are those of zeros and ones (Wilson,
Tango) for as many observations as there are clusters: among values in [0, 1] with a given mean, zeros and ones vary the most, so the
interval is wide enough even where all images of a cluster agree, and wider than needed where they do not. It holds for a few
clusters too, where an estimate of the spread between them would not. With one image per cluster everything is as without clusters.

Clusters of different sizes weigh by their images, and count as n² / Σ m² observations (Kish 1965), n images in clusters of m.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.metrics.intervals import Metric, wilson
from eval.metrics.paired import Paired, tango

Pair = tuple[bool, bool]
"""Whether an image is a hit before, and after."""


def observations(sizes: Sequence[int]) -> float:
    """The number of equal clusters whose mean varies as much as that of clusters of these sizes."""
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


def clustered_rate(clusters: Sequence[Sequence[bool]]) -> Metric:
    """Share of images that are a hit, in percent, with Wilson's interval over clusters; `n` counts images."""
    hits, n = sum(map(sum, clusters)), sum(map(len, clusters))
    number = observations([len(cluster) for cluster in clusters])
    return Metric(100 * hits / n, *wilson(hits / n * number, number), n)


def clustered_difference(clusters: Sequence[Sequence[Pair]]) -> Paired:
    """Difference of two shares of images in percentage points, after - before, with Tango's interval over clusters; `n` counts pairs.

    p is that of the exact test that flips the sign of each cluster's difference; with one pair per cluster that is McNemar's.
    """
    gained = [sum(after and not before for before, after in cluster) for cluster in clusters]
    lost = [sum(before and not after for before, after in cluster) for cluster in clusters]
    n = sum(map(len, clusters))
    scale = observations([len(cluster) for cluster in clusters]) / n
    low, high = tango(sum(gained) * scale, sum(lost) * scale, n * scale)
    differences = [more - fewer for more, fewer in zip(gained, lost, strict=True)]
    return Paired(100 * sum(differences) / n, low, high, sign_flips(differences), n)


def sign_flips(differences: Sequence[int]) -> float:
    """Probability that the sum is at least as far from 0 where every difference is as likely to have the other sign: exact, two-sided."""
    sizes = [abs(difference) for difference in differences]
    most = sum(sizes)
    odds = np.zeros(2 * most + 1)  # of the sums -most ... most
    odds[most] = 1.0
    for size in sizes:
        odds = (np.roll(odds, size) + np.roll(odds, -size)) / 2  # no sum so far is near enough to an end to be rolled over it
    return min(1.0, float(odds[np.abs(np.arange(-most, most + 1)) >= abs(sum(differences))].sum()))
