"""The kernel distance agrees with its definition and with torchmetrics' estimate; samples do not depend on who keeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from erase.errors import InputError
from eval.metrics.intervals import Metric
from eval.metrics.kid import Kid, Sample, kid, sampled_indexes, shared


def features(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (n, d)))


def by_definition(x: Tensor, y: Tensor, paired: bool = False) -> float:
    """The unbiased estimate (Gretton et al. 2012), pair after pair."""

    def mean(a: Tensor, b: Tensor, but_own: bool) -> float:
        kernel = [(float(p @ q) / len(p) + 1) ** 3 for i, p in enumerate(a) for j, q in enumerate(b) if i != j or not but_own]
        return sum(kernel) / len(kernel)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, paired)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (20, 20), (20, 31)])
def test_over_all_rows_it_is_the_unbiased_estimate(n: int, m: int) -> None:
    x, y = features(n, 6, 1), features(m, 6, 2, 0.3)
    assert kid(x, y).metric.value == pytest.approx(by_definition(x, y), rel=1e-10)
    if n == m:
        assert kid(x, y, paired=True).metric.value == pytest.approx(by_definition(x, y, True), rel=1e-10)
    assert (kid(x, y).subsets, kid(x, y).std) == (1, None)


@pytest.mark.parametrize("paired", [False, True])
def test_a_subset_is_estimated_as_if_it_were_all(paired: bool) -> None:
    x, y = features(12, 4, 3), features(12, 4, 4, 0.5)
    found = kid(x, y, subsets=4000, size=3, paired=paired)
    assert (found.subsets, found.size) == (4000, 3)
    assert found.metric.value == pytest.approx(by_definition(x, y, paired), abs=4 * found.std / 4000**0.5)
    assert found == kid(x, y, subsets=4000, size=3, paired=paired) != kid(x, y, subsets=4000, size=3, seed=1, paired=paired)


def left_out(x: Tensor, y: Tensor, paired: bool) -> float:
    """Jackknife variance, each picture really left out."""

    def variance(values: list[float]) -> float:
        return (len(values) - 1) * float(np.var(values))

    def without(rows: Tensor, i: int) -> Tensor:
        return torch.cat([rows[:i], rows[i + 1 :]])

    if paired:
        return variance([by_definition(without(x, i), without(y, i), True) for i in range(len(x))])
    ones = [by_definition(without(x, i), y) for i in range(len(x))]
    return variance(ones) + variance([by_definition(x, without(y, i)) for i in range(len(y))])


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_is_the_jackknife(paired: bool) -> None:
    from scipy import stats

    x, y = features(9, 3, 5), features(9 if paired else 11, 3, 6, 0.4)
    found = kid(x, y, paired=paired).metric
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 8) * left_out(x, y, paired) ** 0.5, rel=1e-9)
    assert found.n == 9


@pytest.mark.parametrize("paired", [False, True])
def test_without_a_difference_it_is_0_on_average_and_within_the_interval(paired: bool) -> None:
    found = []
    for seed in range(300):
        x, noise = features(60, 8, 2 * seed), features(60, 8, 2 * seed + 1)
        found.append(kid(x, 0.8 * x + 0.6 * noise if paired else noise, paired=paired).metric)
    values = np.array([m.value for m in found])
    assert abs(values.mean()) < 3 * values.std() / 300**0.5
    assert np.mean([m.low <= 0 <= m.high for m in found]) > 0.92


def test_a_difference_is_found() -> None:
    assert kid(features(200, 8, 7), features(200, 8, 8, 0.5)).metric.low > 0


def test_a_set_does_not_differ_from_itself() -> None:
    x = features(50, 8, 9)
    assert kid(x, x.clone(), paired=True) == Kid(Metric(0.0, 0.0, 0.0, 50), None, 1, 50)


def test_record_says_what_papers_print() -> None:
    record = kid(features(50, 8, 10), features(50, 8, 11), subsets=5, size=20).record()
    assert record.keys() == {"value", "low", "high", "n", "std", "subsets", "subset_size"}
    assert (record["n"], record["subsets"], record["subset_size"]) == (50, 5, 20)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="at least three images on each side; got 2 and 9"):
        kid(features(2, 3, 1), features(9, 3, 2))
    with pytest.raises(ValueError, match="same number of images"):
        kid(features(8, 3, 1), features(9, 3, 2), paired=True)


def test_which_pictures_are_kept_depends_on_their_number_and_the_seed_only() -> None:
    assert sampled_indexes(5, 8) == [0, 1, 2, 3, 4]
    some = sampled_indexes(1000, 30)
    assert len(set(some)) == 30
    assert some == sorted(some) == sampled_indexes(1000, 30) != sampled_indexes(1000, 30, seed=1)
    assert 250 < np.mean(sampled_indexes(1000, 300)) < 750


def test_any_number_of_processes_keep_the_same_sample() -> None:
    rows = features(200, 5, 12).float()
    whole, halves = Sample(200, 40), [Sample(200, 40), Sample(200, 40)]
    for start in range(0, 200, 7):
        indexes = list(range(start, min(start + 7, 200)))
        whole.update(indexes, rows[indexes])
        halves[start % 2].update(indexes, rows[indexes])
        halves[start % 2].update(indexes, rows[indexes])  # a chunk made again is not counted twice
    halves[0].merge(halves[1])
    assert torch.equal(whole.compute(), rows[sampled_indexes(200, 40)])
    assert torch.equal(halves[0].compute(), whole.compute())


def test_a_sample_survives_a_file(tmp_path) -> None:
    from safetensors.torch import load_file

    from erase.files import write_tensors

    rows, sample, back = features(20, 5, 13).float(), Sample(20, 8), Sample(20, 8)
    sample.update(range(20), rows)
    write_tensors(tmp_path / "sample.safetensors", sample.state_dict())
    back.load_state_dict(load_file(tmp_path / "sample.safetensors"))
    assert torch.equal(back.compute(), sample.compute())


def test_pairs_are_the_pictures_that_both_sets_hold() -> None:
    rows, a, b, other = features(6, 5, 14).float(), Sample(6), Sample(6), Sample(6)
    a.update([4, 0, 2], rows[[4, 0, 2]])
    b.update([2, 3, 4], rows[[2, 3, 4]] + 1)
    x, y = shared(a, b)
    assert torch.equal(x, rows[[2, 4]])
    assert torch.equal(y, rows[[2, 4]] + 1)
    other.update([1], rows[[1]])
    with pytest.raises(InputError, match="no image in common"):
        shared(a, other)
