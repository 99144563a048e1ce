"""Distances between predictions on paper, and the targets that a task has for them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from diffusion_toys import task_of

from erase.diffusion import StableDiffusion
from erase.diffusion.distances import Distance
from erase.errors import InputError
from erase.methods import make_method

ZERO = torch.zeros(2, 1, 1, 2)
V = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).reshape(2, 1, 1, 2)  # mean squares 12.5 and 0


def test_on_paper() -> None:
    """Root mean squares: of (3, 4) from 0 it is 5/sqrt(2), from (3, 2) it is sqrt(2); the second image is at its target."""
    before = torch.tensor([[3.0, 2.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
    assert float(Distance("squared")(V, ZERO)) == 6.25
    assert float(Distance("hinge", margin=1.0)(V, ZERO, before)) == pytest.approx((5 / 2**0.5 - 2**0.5) / 2)
    assert float(Distance("hinge", margin=3.0)(V, ZERO, before)) == 0.0
    assert float(Distance("hellinger", sharpness=2.0)(V, ZERO)) == pytest.approx(4 * (1 - math.exp(-2 * 12.5 / 8)) / 2)


def test_hellinger_is_that_of_two_gaussians_by_integration() -> None:
    """1 - integral of sqrt(p q), for means 0 and 1.5 and variance 1 / sharpness."""
    x, s = torch.linspace(-20, 20, 200_001, dtype=torch.float64), 0.8
    p, q = ((s / (2 * math.pi)) ** 0.5 * torch.exp(-s * (x - mean) ** 2 / 2) for mean in (0.0, 1.5))
    expected = 1 - float(torch.trapezoid((p * q).sqrt(), x))
    one = torch.full((1, 1, 1, 1), 1.5, dtype=torch.float64)
    assert float(Distance("hellinger", sharpness=s)(one, 0 * one)) * s / 8 == pytest.approx(expected, abs=1e-9)


def test_gradients_are_finite_at_the_start_and_those_of_the_square_where_both_are_near() -> None:
    v = torch.zeros(1, 1, 1, 2, requires_grad=True)
    hinge = Distance("hinge")(v, torch.ones_like(v), v.detach())
    (gradient,) = torch.autograd.grad(hinge, v)
    torch.testing.assert_close(gradient, torch.full_like(v, -0.5))
    w = torch.full((1, 1, 1, 2), 1e-3, requires_grad=True)
    grads = [torch.autograd.grad(Distance(kind)(w, torch.zeros_like(w)), w)[0] for kind in ("squared", "hellinger")]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=0)


def test_a_hinge_compares_with_what_the_original_predicted_for_the_same_input(tiny_pipeline: Path) -> None:
    model = StableDiffusion(tiny_pipeline)
    task = task_of(model, forget_rounds=2, before_predictions=True, distance=Distance("hinge"))
    batch, untouched = task.forget(1), model.network()
    with torch.no_grad():
        now = untouched(batch.unlearn_input, batch.timesteps, encoder_hidden_states=batch.prompt.text).sample
        assert torch.equal(batch.unlearn_before, now)
        distance = (now - batch.unlearn_target).square().flatten(1).mean(1).sqrt().mean()
        assert float(task.unlearn(task.network, batch)) == pytest.approx(float(distance), rel=1e-4)
    bare = task_of(model, forget_rounds=2, distance=Distance("hinge"))
    with pytest.raises(InputError, match="carry no prediction 'before'"):
        bare.unlearn(bare.network, bare.forget(0))


def test_concept_ablation_asks_for_what_its_distance_needs() -> None:
    assert make_method("concept_ablation", distance="hinge").requirements.predictions == ("anchor", "before")
    assert make_method("concept_ablation", distance="hellinger", sharpness=3.0).requirements.sharpness == 3.0
    with pytest.raises(InputError, match=r"^--distance hinge compares predictions, and --target noise is none; give --target model$"):
        make_method("concept_ablation", distance="hinge", target="noise")
