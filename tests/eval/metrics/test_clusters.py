"""A cluster is one observation: exact where all of a cluster agree, as without clusters where each has one image."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from eval.metrics.clusters import clustered_difference, clustered_rate, observations, sign_flips
from eval.metrics.intervals import rate, wilson
from eval.metrics.paired import mcnemar, paired_rates

HITS = (True, False, True, True, False, False, True)


def test_images_alone_are_a_plain_share_and_plain_pairs() -> None:
    assert clustered_rate([[hit] for hit in HITS]) == rate(HITS)
    after = (True, True, True, True, True, False, False)
    clustered, plain = clustered_difference([[pair] for pair in zip(HITS, after, strict=True)]), paired_rates(HITS, after)
    assert (clustered.difference, clustered.low, clustered.high, clustered.n) == (plain.difference, plain.low, plain.high, plain.n)
    assert clustered.p == pytest.approx(plain.p, rel=1e-12)


def test_clusters_that_agree_are_one_image_each() -> None:
    """8 searches of 8 images, 4 of them succeed: [22, 78], and not the [38, 62] of 64 images."""
    clusters = [[True] * 8, [False] * 8] * 4
    metric = clustered_rate(clusters)
    assert (metric.value, round(metric.low), round(metric.high), metric.n) == (50, 22, 78, 64)
    assert (metric.low, metric.high) == wilson(4, 8)
    pairs = [[(False, True)] * 5, [(True, True)] * 5, [(True, False)] * 5, [(False, True)] * 5]
    single = paired_rates([False, True, True, False], [True, True, False, True])
    found = clustered_difference(pairs)
    assert (found.difference, found.low, found.high, found.n) == (single.difference, single.low, single.high, 20)
    assert found.p == pytest.approx(single.p, rel=1e-12)


def test_one_search_says_little_and_never_nothing() -> None:
    """One observation: Wilson's interval of 1 in 1 is [21, 100]."""
    metric = clustered_rate([[True] * 8])
    assert (round(metric.low), metric.high) == (21, 100)
    half = clustered_rate([[True, False] * 4])
    assert half.low < 15
    assert half.high > 85
    assert clustered_difference([[(False, True)] * 8]).p == 1.0


def test_clusters_of_different_sizes_weigh_by_their_images() -> None:
    """By hand: 20 images in clusters of 8, 8 and 4 are 400 / 144 observations."""
    assert observations([8, 8, 4]) == pytest.approx(400 / 144)
    metric = clustered_rate([[True] * 8, [False] * 8, [True] * 4])
    assert metric.value == 60
    assert (metric.low, metric.high) == pytest.approx(wilson(0.6 * 400 / 144, 400 / 144))
    assert observations([3] * 7) == 7


def test_the_mean_of_such_clusters_varies_as_that_of_so_many_observations() -> None:
    """The variance of the share of hits, where each cluster is all hit or none, is p (1 - p) over the number of observations."""
    sizes, p = np.array([8, 8, 4, 2]), 0.3
    shares = np.array(list(product((0, 1), repeat=len(sizes))))
    odds = np.prod(np.where(shares == 1, p, 1 - p), axis=1)
    means = shares @ sizes / sizes.sum()
    assert odds @ means == pytest.approx(p)
    assert odds @ (means - p) ** 2 == pytest.approx(p * (1 - p) / observations(sizes.tolist()))


@pytest.mark.parametrize("differences", [(3, -1, 2, 0, 4), (1, 1, 1, -1), (8, 8, 8), (0, 0), (-2, 5), (1,) * 9 + (-1,) * 3])
def test_sign_flips_are_counted_one_by_one(differences: tuple[int, ...]) -> None:
    flips = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    assert sign_flips(differences) == pytest.approx(np.mean(np.array(flips) >= abs(sum(differences))), rel=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(5, 1), (3, 3), (0, 4), (0, 0), (40, 20)])
def test_of_single_pairs_it_is_mcnemars_test(gained: int, lost: int) -> None:
    assert sign_flips([1] * gained + [-1] * lost + [0, 0]) == pytest.approx(mcnemar(gained, lost), rel=1e-9)


def test_the_interval_covers_the_truth_for_searches_that_agree_and_for_images_that_are_independent() -> None:
    """Of 400 experiments of 12 searches of 6 images about 19 in 20 cover 30 % where a search decides; nearly all where it does not."""
    draws, truth = np.random.default_rng(0), 30
    for alike, least in ((True, 0.93), (False, 0.99)):
        hits = draws.random((400, 12, 1 if alike else 6)) < truth / 100
        metrics = [clustered_rate(np.broadcast_to(one, (12, 6)).tolist()) for one in hits]
        assert np.mean([metric.low <= truth <= metric.high for metric in metrics]) >= least
