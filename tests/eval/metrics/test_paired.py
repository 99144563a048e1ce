"""Paired comparisons agree with scipy and with what is published, and a model does not differ from itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from eval.metrics.paired import Paired, mcnemar, paired_means, paired_rates, tango

Z = stats.norm.ppf(0.975)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 1), (1, 7), (7, 1), (5, 5), (30, 12), (0, 300), (6000, 6500)])
def test_mcnemar_is_the_binomial_test_of_scipy(gained: int, lost: int) -> None:
    theirs = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (1, 7), (5, 5), (30, 12), (0, 300), (600, 650)])
def test_mcnemar_is_a_sum_of_binomial_coefficients(gained: int, lost: int) -> None:
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail / 2**n), rel=1e-12)


def test_mcnemar_of_a_hand_case() -> None:
    assert mcnemar(1, 3) == pytest.approx(2 * (1 + 4) / 2**4, rel=1e-12)


def likelihood_score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic by its definition: the likeliest share of lost pairs is searched for, not solved for."""

    def unlikely(share: float) -> float:
        return -(stats.multinomial.logpmf([gained, lost, n - gained - lost], n, [share + difference, share, 1 - 2 * share - difference]))

    bounds = (max(0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12)
    share = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * difference) / np.sqrt(n * (2 * share + difference * (1 - difference)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 7, 21), (40, 20, 160), (3, 9, 40), (2, 2, 30), (11, 60, 300)])
def test_tango_is_where_the_score_test_stops_rejecting(gained: int, lost: int, n: int) -> None:
    low, high = tango(gained, lost, n)
    assert likelihood_score(gained, lost, n, low / 100) == pytest.approx(Z, abs=1e-4)
    assert likelihood_score(gained, lost, n, high / 100) == pytest.approx(-Z, abs=1e-4)


def test_tango_of_the_example_that_textbooks_use() -> None:
    """Bentur et al. 2009, in Fagerland, Lydersen and Laake: 1 and 7 discordant pairs of 21, -0.517 to -0.026."""
    assert tango(1, 7, 21) == pytest.approx((-51.7, -2.6), abs=0.05)


def test_tango_stays_in_range_holds_the_difference_and_mirrors() -> None:
    for n in (1, 2, 5, 33):
        for gained in range(n + 1):
            for lost in range(n + 1 - gained):
                low, high = tango(gained, lost, n)
                assert -100 <= low <= 100 * (gained - lost) / n <= high <= 100
                assert high - low > 1
                assert tango(lost, gained, n) == (-high, -low)


def test_tango_holds_the_true_difference_about_19_times_in_20() -> None:
    counts = np.random.default_rng(0).multinomial(80, [0.15, 0.05, 0.8], 1000)
    assert 0.93 < np.mean([low <= 10 <= high for low, high in (tango(*map(int, c[:2]), 80) for c in counts)]) < 0.97


def test_rates_of_a_hand_case() -> None:
    found = paired_rates([True, True, False, False, True], [True, False, True, True, True])
    assert found == Paired(pytest.approx(20.0), *tango(2, 1, 5), 1.0, 5)
    back = paired_rates([True, False, True, True, True], [True, True, False, False, True])
    assert (back.difference, back.low, back.high, back.p) == (-found.difference, -found.high, -found.low, found.p)


def test_a_change_that_pairs_show_is_seen() -> None:
    hard = np.random.default_rng(1).random(100) < 0.5
    found = paired_rates(list(~hard), list(~hard | (np.arange(100) % 4 == 0)))
    assert found.low > 0
    assert found.p < 0.05


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_a_model_does_not_differ_from_itself(rate: float) -> None:
    hits = list(np.random.default_rng(2).random(80) < rate)
    found = paired_rates(hits, hits)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.low < 0 < found.high
    assert (found.low, found.high) == pytest.approx((-100 * Z**2 / (80 + Z**2), 100 * Z**2 / (80 + Z**2)))
    assert paired_means([0.0] * 80) == Paired(0.0, 0.0, 0.0, 1.0, 80)


@pytest.mark.parametrize(("n", "shift"), [(2, 0.3), (5, 0.0), (40, 0.2), (3000, -0.1)])
def test_means_are_the_paired_t_test_of_scipy(n: int, shift: float) -> None:
    before, after = np.random.default_rng(n).normal([0, shift], 1, (n, 2)).T
    theirs = stats.ttest_rel(after, before)
    expected = (np.mean(after - before), *theirs.confidence_interval(0.95), theirs.pvalue, n)
    paired = paired_means(list(after - before))
    assert (paired.difference, paired.low, paired.high, paired.p, paired.n) == pytest.approx(expected, rel=1e-12)


def test_equal_differences_are_as_likely_as_equal_tosses() -> None:
    assert paired_means([-2.0] * 5) == Paired(-2.0, -2.0, -2.0, 2**-4, 5)


def test_one_pair_says_nothing_of_the_spread() -> None:
    assert paired_means([-3.0], (-100, 100)) == Paired(-3.0, -100, 100, 1.0, 1)
    with pytest.raises(ValueError, match="bounds"):
        paired_means([-3.0])


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_what_are_no_pairs_is_refused(before: list[bool], after: list[bool]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_rates(before, after)


def test_record_keeps_small_probabilities() -> None:
    assert Paired(1.23456, -0.5, 3.0, 1.23456e-9, 7).record() == {"difference": 1.2346, "low": -0.5, "high": 3.0, "p": 1.235e-9, "n": 7}
