"""The likelihood of latents, against other implementations and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg, stats
from skimage.metrics import peak_signal_noise_ratio

from eval.metrics import likelihood


def test_it_is_the_negative_log_density_of_the_standard_normal():
    latents = np.random.default_rng(0).normal(0.3, 1.4, (3, 4, 2, 2)).astype(np.float32)
    expected = [-stats.norm.logpdf(one.astype(np.float64)).mean() for one in latents]
    assert likelihood.of_latents(latents) == pytest.approx(expected, abs=1e-12)
    assert likelihood.of_latents(np.zeros((1, 5))) == pytest.approx([0.5 * math.log(2 * math.pi)])


def test_noise_has_the_moments_that_are_said_of_it():
    drawn = likelihood.of_latents(np.random.default_rng(1).normal(size=(20_000, 32)))
    mean, deviation = likelihood.of_noise(32)
    assert np.mean(drawn) == pytest.approx(mean, abs=4 * deviation / math.sqrt(len(drawn)))
    assert np.std(drawn) == pytest.approx(deviation, rel=0.03)


def test_the_distance_is_that_between_normal_distributions():
    """The formula for covariances, m + tr(A + B - 2 sqrt(A B)), with matrices of one entry."""
    a, b = np.array([[0.7**2]]), np.array([[1.9**2]])
    expected = (2.0 - 5.0) ** 2 + np.trace(a + b - 2 * np.real(linalg.sqrtm(a @ b)))
    assert likelihood.wasserstein((2.0, 0.7), (5.0, 1.9)) ** 2 == pytest.approx(expected)


def test_a_distance_has_an_interval_that_holds_it_and_is_nought_from_itself():
    values = [1.0, 2.0, 4.0, 5.0]
    same = likelihood.distance(values, values)
    assert same["value"] == 0
    assert same["low"] == 0 < same["high"]
    far = likelihood.distance(values, [one + 100 for one in values])
    assert far["value"] == 100
    assert 95 < far["low"] < 100 < far["high"] < 105
    assert likelihood.distance(values, likelihood.moments(values))["value"] == 0


def test_psnr_is_scikit_images_and_equal_images_have_the_most():
    first, second = (np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8) for seed in (0, 1))
    assert likelihood.psnr(first, second) == pytest.approx(peak_signal_noise_ratio(first, second))
    assert likelihood.psnr(first, first) == likelihood.IDENTICAL
