"""Intervals agree with scipy, hold their value, and never claim certainty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from eval.metrics.intervals import (
    Metric,
    bootstrap_mean,
    mean_share,
    mean_value,
    rate,
    student_quantile,
    wilson,
)


@pytest.mark.parametrize("n", [1, 2, 7, 80, 300, 5000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_wilson_is_that_of_scipy(n: int, confidence: float) -> None:
    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
        assert wilson(successes, n, confidence) == pytest.approx((100 * theirs.low, 100 * theirs.high), rel=1e-12, abs=1e-12)


def test_wilson_stays_within_0_and_100_and_is_never_a_point() -> None:
    assert wilson(0, 300)[0] == 0.0
    assert wilson(0, 300)[1] > 1
    assert wilson(300, 300)[1] == 100.0
    assert wilson(300, 300)[0] < 99


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(successes, n)


def shares(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([0.0, 0.5, 1.0], n, p=[0.05, 0.2, 0.75])


def test_bootstrap_is_that_of_scipy() -> None:
    values = shares(120, 0)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert bootstrap_mean(list(values), 0) == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=0.5)


def test_bootstrap_holds_the_true_mean_about_19_times_in_20() -> None:
    truth = 100 * (0.2 * 0.5 + 0.75)
    intervals = [bootstrap_mean(list(shares(100, seed)), seed, draws=500) for seed in range(400)]
    assert 0.91 < np.mean([low <= truth <= high for low, high in intervals]) < 0.98


def test_bootstrap_is_deterministic_and_blind_to_order() -> None:
    values = list(np.random.default_rng(2).random(50))
    assert bootstrap_mean(values, 3) == bootstrap_mean(values, 3) == bootstrap_mean(values[::-1], 3)
    assert bootstrap_mean(values, 3) != bootstrap_mean(values, 4)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_equal_shares_are_not_certainty(value: float) -> None:
    low, high = bootstrap_mean([value] * 40, 0)
    assert (low, high) == wilson(40 * value, 40)
    assert high - low > 5


@pytest.mark.parametrize("values", [[], [0.5, 1.5], [-0.1, 0.2]])
def test_bootstrap_refuses_what_are_no_shares(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        bootstrap_mean(values, 0)


def test_metrics_of_a_hand_case() -> None:
    assert rate([True, True, True, False]) == Metric(75.0, *wilson(3, 4), 4)
    found = mean_share([1.0, 1.0, 0.5, 0.5])
    assert found.value == 75.0
    assert found.low < 75.0 < found.high
    assert rate([True, False, True]).record() == {"value": 66.6667, "low": 20.766, "high": 93.8508, "n": 3}


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 30, 79, 319, 4999, 29999])
def test_student_is_that_of_scipy(freedom: int) -> None:
    for p in (0.6, 0.9, 0.975, 0.9995):
        assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-12)


@pytest.mark.parametrize("p", [0.6, 0.9, 0.975, 0.9995])
def test_student_has_its_closed_forms_for_one_and_two_degrees_of_freedom(p: float) -> None:
    assert student_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-12)
    assert student_quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 30, 5000])
def test_means_of_scores_are_those_of_scipy(n: int) -> None:
    scores = np.random.default_rng(n).normal(31, 3, n)
    theirs = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    metric = mean_value(list(scores))
    assert (metric.value, metric.low, metric.high, metric.n) == pytest.approx((scores.mean(), theirs.low, theirs.high, n), rel=1e-12)


def test_a_mean_stays_within_what_scores_can_be() -> None:
    assert mean_value([1.0, 0.5], (-1, 1)).high == 1
    assert mean_value([0.7], (-1, 1)) == Metric(0.7, -1, 1, 1)
    assert mean_value([1.0] * 9) == Metric(1.0, 1.0, 1.0, 9)


def test_a_mean_of_nothing_is_refused() -> None:
    for wrong in (lambda: mean_value([]), lambda: mean_value([1.0])):
        with pytest.raises(ValueError, match="one value"):
            wrong()


def test_a_mean_of_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        mean_value([1.0, float("nan")], (0, 100))


def test_small_values_keep_their_digits() -> None:
    record = Metric(0.00123456, -0.0000001, 12.345678, 5).record()
    assert record == {"value": 0.001235, "low": 0, "high": 12.3457, "n": 5}
    assert str(record["low"]) == "0.0"
