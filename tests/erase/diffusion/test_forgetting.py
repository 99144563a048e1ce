"""How forget batches are drawn: pictures without their names, and answers that lead to the anchor's picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusion_toys import made_up, rows_of, same, task_of
from torch import Tensor

from erase.diffusion import Denoising, Forgetting, StableDiffusion, denoising_target
from erase.diffusion.drawing import HIDDEN, redirected_target
from erase.diffusion.latents import Latents
from erase.errors import InputError
from erase.methods import make_method
from erase.task import generator

NONE, OWN, KEPT = 0, 1, {4, 5}  # rows of the text in `made_up`


def with_pictures_of_the_anchor() -> Latents:
    latents = made_up()
    there = torch.randn(latents.forget.latents.shape, generator=generator("instead"))
    return replace(latents, forget=replace(latents.forget, anchor_latents=there))


def seen_behind(scheduler: Any, noisy: Tensor, answer: Tensor, timesteps: Tensor) -> Tensor:
    """The picture that an answer says is behind the noise, from the definitions (Ho et al. 2020; Salimans and Ho 2022)."""
    keep = scheduler.alphas_cumprod[timesteps].sqrt().reshape(-1, 1, 1, 1)
    spoil = (1 - keep**2).sqrt()
    return (noisy - spoil * answer) / keep if scheduler.config.prediction_type == "epsilon" else keep * noisy - spoil * answer


def drawn(kind: str, timesteps: Tensor) -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=kind)
    clean, instead, noise = (torch.randn(len(timesteps), 4, 8, 8, generator=generator(name)) for name in ("clean", "instead", "noise"))
    return scheduler, clean, instead, noise, scheduler.add_noise(clean, noise, timesteps)


# --- answers that lead elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_without_a_bound_the_answer_leads_to_the_anchors_picture(kind: str) -> None:
    timesteps = torch.tensor([10, 200, 600, 950])
    scheduler, clean, instead, noise, noisy = drawn(kind, timesteps)
    answer = redirected_target(Denoising(scheduler), clean, instead, noise, timesteps, 1e6)
    torch.testing.assert_close(seen_behind(scheduler, noisy, answer, timesteps), instead, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_bound_is_so_many_times_the_noise(kind: str) -> None:
    """Where a = 0.8 and s = 0.6, a reach of 0.5 goes 0.5 * 0.6 / 0.8 = 3/8 of the way, and the noise differs by half of it."""
    timesteps = torch.tensor([0])
    scheduler, clean, instead, noise, _ = drawn(kind, timesteps)
    scheduler.alphas_cumprod[0] = 0.64
    noisy = scheduler.add_noise(clean, noise, timesteps)
    answer = redirected_target(Denoising(scheduler), clean, instead, noise, timesteps, 0.5)
    torch.testing.assert_close(seen_behind(scheduler, noisy, answer, timesteps), clean + 3 / 8 * (instead - clean), rtol=1e-4, atol=1e-4)
    if kind == "epsilon":
        torch.testing.assert_close(answer, noise + 0.5 * (clean - instead), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_towards_itself_is_the_target_of_training(kind: str) -> None:
    timesteps = torch.tensor([10, 500])
    scheduler, clean, _, noise, _ = drawn(kind, timesteps)
    answer = redirected_target(Denoising(scheduler), clean, clean, noise, timesteps, 2.0)
    torch.testing.assert_close(answer, denoising_target(scheduler, clean, noise, timesteps))


def test_pictures_of_the_concept_are_answered_so_and_those_of_the_anchor_by_the_original(model: StableDiffusion) -> None:
    latents = with_pictures_of_the_anchor()
    plain, task = (
        task_of(model, latents=latents, forget_rounds=3, forgetting=how, kind="epsilon") for how in (Forgetting(), Forgetting(redirect=2.0))
    )
    turned = 0
    for i in range(3):
        before, b = plain.forget(i), task.forget(i)
        there = b.redirected
        assert torch.equal(b.unlearn_target[there], b.redirect_target[there])
        assert torch.equal(b.unlearn_target[~there], before.unlearn_target[~there])
        assert torch.equal(b.unlearn_input, before.unlearn_input)
        assert torch.equal(b.unlearn_input[there], b.noisy[there])
        turned += int(there.sum())
    assert 0 < turned < 12


def test_where_noise_hides_the_picture_the_named_keep_the_anchors_answer_and_the_unnamed_are_led(model: StableDiffusion) -> None:
    latents, how = with_pictures_of_the_anchor(), Forgetting(redirect=2.0, unnamed=0.5)
    task = task_of(model, latents=latents, forget_rounds=8, forgetting=how, kind="epsilon")
    seen = set()
    for i in range(8):
        b = task.forget(i)
        share = model.noise_scheduler().alphas_cumprod[b.timesteps]
        hidden = (1 - share) / share > HIDDEN**2
        named = torch.tensor([torch.equal(text, latents.text[OWN]) for text in b.prompt.text])
        assert b.redirected[~named].all()
        assert not b.redirected[named & hidden].any()
        seen |= set(zip(named.tolist(), hidden.tolist(), b.redirected.tolist(), strict=True))
    assert (True, False, True) in seen


def test_a_redirection_without_pictures_of_the_anchor_is_refused(model: StableDiffusion) -> None:
    with pytest.raises(InputError, match="anchor-pictures"):
        task_of(model, forget_rounds=1, forgetting=Forgetting(redirect=1.0))
    for given in ({"anchor_pictures": False}, {"unlearn": "ascent"}):
        with pytest.raises(InputError, match="--redirect"):
            make_method("scissorhands", redirect=1.0, **given)


# --- pictures without their names -----------------------------------------------------------------------------------


def test_unnamed_pictures_come_under_nothing_and_under_prompts_to_keep_in_equal_parts(model: StableDiffusion) -> None:
    latents = made_up()
    task = task_of(model, forgetting=Forgetting(unnamed=1.0))
    said = [row for i in range(60) for row in rows_of(task.forget(i), latents.text)]
    assert set(said) == {NONE, *KEPT}
    assert 0.4 < said.count(NONE) / len(said) < 0.6


def test_a_share_of_them_is_unnamed_under_the_same_noise(model: StableDiffusion) -> None:
    latents = made_up()
    plain, task = task_of(model), task_of(model, forgetting=Forgetting(unnamed=0.3))
    said = []
    for i in range(60):
        before, b = plain.forget(i), task.forget(i)
        assert torch.equal(before.noisy, b.noisy)
        assert torch.equal(before.timesteps, b.timesteps)
        assert same(plain.retain(i), task.retain(i))
        said += rows_of(b, latents.text)
    assert 0.6 < said.count(OWN) / len(said) < 0.8


def test_unnamed_pictures_are_never_those_of_the_anchor(model: StableDiffusion) -> None:
    """The anchor's pictures under no prompt are what is to be kept."""
    latents = with_pictures_of_the_anchor()
    task = task_of(model, latents=latents, forgetting=Forgetting(unnamed=0.5))
    named = 0
    for i in range(20):
        b = task.forget(i)
        for k, row in enumerate(rows_of(b, latents.text)):
            own = torch.equal(b.unlearn_input[k], b.noisy[k])
            assert own or row == OWN
            named += not own
    assert named > 0
