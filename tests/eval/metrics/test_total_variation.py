"""Distances of distributions of labels, worked by hand, and what their intervals claim."""

from __future__ import annotations

import numpy as np
import pytest

from eval.metrics.intervals import wilson
from eval.metrics.total_variation import between, halves, more_uneven, table_of, uneven, variation

ORDER = ("red", "blue", "green")


def images(text: str) -> np.ndarray:
    """ "rrb": two images of red and one of blue."""
    return table_of([[next(one for one in ORDER if one.startswith(letter))] for letter in text], ORDER)


def test_it_is_the_share_of_labels_that_would_have_to_change():
    before, after = images("rrrbbg"), images("rbbbbb")
    assert between(before, after).value == pytest.approx(50)  # 1/2 1/3 1/6 against 1/6 5/6 0
    assert between(before, images("gbrbrr")).value == 0
    assert between(images("rr"), images("bb")).value == 100


def test_an_image_with_several_labels_counts_each_and_one_without_any_none():
    table = table_of([["red", "red"], ["blue"], [], ["purple"]], ORDER)
    assert table.tolist() == [[2, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert float(variation(table.sum(axis=0), np.array([2.0, 1.0, 0.0]))) == 0


def test_evenness_has_no_unevenness_and_one_label_the_most():
    assert uneven(images("rbg")).value == 0
    assert uneven(images("rrr")).value == pytest.approx(200 / 3)
    change = more_uneven(images("rbg" * 4), images("rrr" * 4))
    assert change["difference"] == pytest.approx(200 / 3, abs=1e-3)
    assert change["low"] > 0


def test_where_no_image_has_another_label_the_interval_is_that_of_no_change_in_so_many():
    metric = between(images("rrbg"), images("rrbg"))
    assert (metric.value, metric.low, metric.n) == (0, 0, 4)
    assert metric.high == pytest.approx(wilson(0, 4)[1])


def test_the_interval_holds_the_value_and_narrows_with_more_images():
    few, many = (between(images("rrbg" * n), images("rbbg" * n)) for n in (5, 80))
    for metric in (few, many):
        assert metric.low <= metric.value == 25 <= metric.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_halves_of_one_set_differ_by_chance_alone_and_less_the_more_there_are():
    few, many = (halves(images("rb" * n)) for n in (10, 160))
    assert few is not None
    assert many is not None
    # two halves of 20 images, 10 of each label: how many red fall into one half is hypergeometric
    from scipy import stats

    expected = sum(stats.hypergeom(20, 10, 10).pmf(k) * abs(2 * k - 10) * 10 for k in range(11))
    assert few["value"] == pytest.approx(expected, rel=0.05)
    assert many["value"] < few["value"] < few["high"]
    assert halves(images("rrr")) is None
    assert halves(images("rrrr")) == {"value": 0, "high": 0, "n": 2}
