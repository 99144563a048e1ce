"""Fréchet and kernel distances agree with independent computations, are exactly 0 of equals, and know how uncertain they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from erase.errors import InputError
from erase.files import write_tensors
from eval.metrics.frechet import Frechet, Moments, frechet, frechet_distance, influences, name_of


def features(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    """Correlated features of unequal spread, away from 0, as a network's are."""
    random = np.random.default_rng([seed, d])
    mixing = np.random.default_rng(d).normal(0, 1, (d, d)) * np.geomspace(1, 0.03, d) / np.sqrt(d)
    return torch.from_numpy(random.normal(0, scale, (n, d)) @ mixing + 0.4 + shift)


def moments(rows: Tensor, batch: int = 7) -> Moments:
    made = Moments.empty(rows.shape[1])
    for chunk in rows.split(batch):
        made.update(chunk)
    return made


def parts(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(0), torch.from_numpy(np.cov(rows.numpy(), rowvar=False))


def by_square_root(x: Tensor, y: Tensor) -> float:
    """The formula as it is written, with scipy's square root of a general matrix."""
    (m, c), (k, b) = (((rows.numpy().mean(0)), np.cov(rows.numpy(), rowvar=False)) for rows in (x, y))
    return float(((m - k) ** 2).sum() + np.trace(c + b - 2 * linalg.sqrtm(c @ b).real))


def by_singular_values(x: Tensor, y: Tensor) -> float:
    """From centred features: the trace of the root is the sum of the singular values of their product, also if singular."""
    u, v = ((rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (x, y))
    cross = torch.linalg.svdvals(u @ v.T).sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + u.square().sum() + v.square().sum() - 2 * cross)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 5), (320, 320, 64), (50, 50, 64), (90, 40, 64), (700, 500, 256)])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.1, 1.3)])
def test_the_distance_is_that_of_scipy(n: int, m: int, d: int, shift: float, scale: float) -> None:
    x, y = features(n, d, 1), features(m, d, 2, shift, scale)
    ours = frechet_distance(*parts(x), *parts(y))
    assert ours == pytest.approx(by_square_root(x, y), rel=1e-5)
    assert ours == pytest.approx(by_singular_values(x, y), rel=1e-6)


def test_the_distance_of_a_hand_case() -> None:
    """Independent dimensions: squared differences of the means and of the standard deviations."""
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([1.5, 0.0])
    assert frechet_distance(one, torch.diag(torch.tensor([4.0, 0.0])), other, torch.diag(torch.tensor([1.0, 9.0]))) == 0.25 + 4 + 1 + 9


def test_equals_are_exactly_0_apart_and_sides_may_change_places() -> None:
    for n, d in ((300, 16), (20, 32)):
        x, y = parts(features(n, d, 3)), parts(features(n, d, 4))
        assert frechet_distance(*x, *x) == 0.0
        assert frechet_distance(*x, *y) == frechet_distance(*y, *x) > 0


@pytest.mark.parametrize(("n", "d"), [(3000, 16), (40, 64)])
def test_the_same_pictures_in_other_batches_are_nothing_apart(n: int, d: int) -> None:
    x = features(n, d, 5).float()
    a, b = moments(x, 7), moments(x, 64)
    found = frechet(a, b, x, x, paired=True).metric
    assert found.record() == {"value": 0.0, "low": 0.0, "high": 0.0, "n": n}


@pytest.mark.parametrize(("n", "d"), [(2, 3), (333, 20), (30_000, 8)])
def test_moments_are_those_of_numpy_however_they_were_summed(n: int, d: int) -> None:
    x = features(n, d, 6)
    whole, half = moments(x, 64), moments(x[: n // 2], 5)
    half.merge(moments(x[n // 2 :], 11))
    for made in (whole, half):
        assert made.n == n
        assert made.compute().mean.numpy() == pytest.approx(x.numpy().mean(0), abs=1e-10)
        assert made.compute().covariance.numpy() == pytest.approx(np.cov(x.numpy(), rowvar=False), abs=1e-10)


def test_moments_survive_a_file(tmp_path) -> None:
    from safetensors.torch import load_file

    made = moments(features(40, 6, 7))
    write_tensors(tmp_path / "moments.safetensors", made.state_dict())
    back = Moments.from_state_dict(load_file(tmp_path / "moments.safetensors"))
    back.update(features(5, 6, 8))
    made.update(features(5, 6, 8))
    assert back.n == made.n == 45
    assert torch.equal(back.compute().covariance, made.compute().covariance)


@pytest.mark.parametrize("wrong", [torch.zeros(4, 5), torch.zeros(6), torch.full((1, 6), float("nan"))])
def test_moments_refuse_what_would_spoil_them(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="finite features"):
        Moments.empty(6).update(wrong)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (12, 20)])
def test_influences_are_derivatives_in_the_weight_of_a_picture(n: int, d: int) -> None:
    """Against central differences: the set mixed with a little more, or less, of one of its pictures."""
    x, y = features(n, d, 9), features(n, d, 10, 0.2, 1.4)
    (mean, cov), other = parts(x), parts(y)

    def mixed(i: int, more: float) -> float:
        away = x[i] - mean
        return frechet_distance(mean + more * away, (1 - more) * (cov + more * torch.outer(away, away)), *other)

    slopes = torch.tensor([(mixed(i, 1e-4) - mixed(i, -1e-4)) / 2e-4 for i in range(n)], dtype=torch.float64)
    ours, _ = influences(moments(x), moments(y), x, y)
    _, mirrored = influences(moments(y), moments(x), y, x)
    for found in (ours, mirrored):
        torch.testing.assert_close(found - found.mean(), slopes - slopes.mean(), rtol=1e-4, atol=1e-4 * float(slopes.std()))


@pytest.mark.parametrize(
    ("n", "d", "scale", "paired"), [(150, 4, 1.5, False), (150, 4, 1.5, True), (80, 24, 1.2, True), (30, 48, 1.2, True)]
)
def test_the_interval_holds_what_such_sets_give_on_average(n: int, d: int, scale: float, paired: bool) -> None:
    """Coverage over 300 pairs of sets of normal features; it may be more careful than 95 %, little less."""
    found = []
    for seed in range(300):
        x, noise = features(n, d, 100 + seed), features(n, d, 5000 + seed)
        y = (0.8 * x + 0.6 * noise if paired else noise) * scale
        found.append(frechet(moments(x, n), moments(y, n), x, y, paired).metric)
    average, spread = np.mean([m.value for m in found]), np.std([m.value for m in found])
    assert np.mean([m.low <= average <= m.high for m in found]) > 0.9
    assert np.mean([m.high - m.low for m in found]) < 2.2 * 3.92 * spread


def test_a_given_reference_and_a_sample_of_the_pictures_are_enough() -> None:
    x, y = features(2000, 8, 11), features(3000, 8, 12, 0.1)
    a, b = moments(x), moments(y)
    whole, part = frechet(a, b, x).metric, frechet(a, b, x[:500]).metric
    assert whole.value == part.value == frechet_distance(*a.compute(), *b.compute())
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.25)
    both = frechet(a, b, x, y).metric
    assert both.high - both.low > whole.high - whole.low
    assert whole.n == 2000


def test_few_pictures_make_it_unreliable_and_it_says_so() -> None:
    x, y = features(20, 32, 13), features(40, 32, 14)
    found = frechet(moments(x), moments(y), x, y)
    assert not found.reliable
    record = found.record()
    assert record["reliable"] is False
    assert "20 images for 32 features" in record["reason"]
    x, y = features(33, 32, 13), features(40, 32, 14)
    found = frechet(moments(x), moments(y), x, y)
    assert found.reliable
    assert found.record() == found.metric.record() | {"reliable": True}
    assert isinstance(found, Frechet)


def test_one_picture_is_no_distribution() -> None:
    x, y = features(1, 3, 15), features(9, 3, 16)
    with pytest.raises(InputError, match="at least two images on each side; got 1 and 9"):
        frechet(moments(x), moments(y), x, y)


def test_pairs_need_the_same_pictures() -> None:
    x, y = features(8, 3, 15), features(9, 3, 16)
    with pytest.raises(ValueError, match="paired"):
        frechet(moments(x), moments(y), x, y, paired=True)


def test_only_2048_inception_features_make_a_fid() -> None:
    assert name_of({"name": "inception-2015-12-05", "dimension": 2048}) == "fid"
    assert name_of({"name": "inception-2015-12-05", "dimension": 64}) == "frechet_inception-2015-12-05_64"
    assert name_of({"name": "ViT-B-32", "dimension": 2048}) == "frechet_vit-b-32_2048"
