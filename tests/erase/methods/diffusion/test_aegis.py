"""AEGIS: its target is the original's, its step keeps near the original where it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion_toys import task_of

from erase.diffusion import StableDiffusion
from erase.methods import make_method
from erase.methods.diffusion.aegis import nearer


@pytest.mark.parametrize(("share", "expected"), [(0.0, [-2.0, 1.0]), (0.5, [-1.0, 1.0]), (1.0, [0.0, 1.0])])
def test_on_paper_a_share_of_what_leads_away_is_removed(share: float, expected: list[float]) -> None:
    """w - w0 = (1, 0) and g_u = (-2, 1): a step along -g_u goes on in that direction."""
    made = nearer([torch.tensor([3.0, 5.0])], [torch.tensor([2.0, 5.0])], [torch.zeros(2)], [torch.tensor([-2.0, 1.0])], share)
    torch.testing.assert_close(made.gradient[0], torch.tensor(expected))
    assert float(made.coefficient) == 2 * share


def test_what_leads_back_and_a_first_step_stay_as_they_are() -> None:
    back, weight = torch.tensor([2.0, 1.0]), torch.tensor([3.0, 5.0])
    assert torch.equal(nearer([weight], [torch.tensor([2.0, 5.0])], [torch.zeros(2)], [back], 1.0).gradient[0], back)
    assert torch.equal(nearer([weight], [weight.clone()], [torch.zeros(2)], [-back], 1.0).gradient[0], -back)


def test_the_target_is_found_by_the_originals_weights_which_are_put_back(tiny_pipeline: Path) -> None:
    model = StableDiffusion(tiny_pipeline)
    task = task_of(model, forget_rounds=1, anchor_predictions=False, concept_predictions=True, empty_predictions=True)
    method, batch = make_method("aegis", target_steps=3, target_rate=0.02), task.forget(0)
    original = [weight.detach().clone() for weight in task.weights.values()]
    for weight in task.weights.values():
        weight.data += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    moved = [weight.detach().clone() for weight in task.weights.values()]
    found, none = method.target(task, original, batch), replace(method, target_steps=0).target(task, original, batch)
    assert all(torch.equal(weight, value) for weight, value in zip(task.weights.values(), moved, strict=True))
    assert torch.equal(none, batch.concept_prediction)
    untouched = model.network()
    with torch.no_grad():
        now = task.network(batch.noisy, batch.timesteps, encoder_hidden_states=batch.prompt.text).sample
        start = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=batch.prompt.text).sample
    torch.testing.assert_close(start, batch.concept_prediction)
    assert (found - now).square().sum() + (found - start).square().sum() < (start - now).square().sum()


def test_without_searches_and_keeping_it_is_esd(tiny_pipeline: Path) -> None:
    ends = []
    for name, values in (("aegis", {"attack_steps": 0, "target_steps": 0, "keep": 0.0}), ("esd", {})):
        task = task_of(
            StableDiffusion(tiny_pipeline), forget_rounds=2, anchor_predictions=False, concept_predictions=True, empty_predictions=True
        )
        list(make_method(name, **values, steps=2, learning_rate=1e-3)(task))
        ends.append({name: weight.detach().clone() for name, weight in task.weights.items()})
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name])
