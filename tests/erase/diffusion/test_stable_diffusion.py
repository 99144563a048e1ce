"""The door to diffusers: batches by number, losses as written on paper, anchors of the untouched network, helpful refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusion_toys import BATCH, made_up, rows_of, same, scheduler_that_predicts, task_of, tensors_of
from torch import Tensor

from erase.demo import EMBEDDED
from erase.diffusion import DTYPES, Conditioning, Forgetting, StableDiffusion, denoising_target, locate, pick_device, predict
from erase.diffusion.drawing import numbered
from erase.diffusion.latents import Latents
from erase.errors import InputError
from erase.task import generator
from erase.trim import reinitialise

# --- part of the schedule, and data beside the imitation ------------------------------------------------------------


def test_forget_batches_stay_within_their_part_of_the_schedule(model: StableDiffusion) -> None:
    """Timesteps are moved there one by one: t of 1000 becomes 200 + 0.3 t. Retain batches keep theirs, and so does the noise."""
    everywhere, within = task_of(model), task_of(model, forgetting=Forgetting((0.2, 0.5)))
    end = model.noise_scheduler().config.num_train_timesteps
    seen = torch.cat([within.forget(i).timesteps for i in range(40)])
    assert 0.2 * end <= seen.min() < 0.25 * end < 0.45 * end < seen.max() < 0.5 * end
    for i in range(3):
        there, here = everywhere.forget(i), within.forget(i)
        assert torch.equal(here.timesteps, end // 5 + there.timesteps * 3 // 10)
        assert same(everywhere.retain(i), within.retain(i))


def test_the_whole_schedule_is_what_it_was(model: StableDiffusion) -> None:
    assert same(task_of(model).forget(0), task_of(model, forgetting=Forgetting((0.0, 1.0))).forget(0))


def test_retain_data_are_the_same_batches_with_the_targets_of_the_data(model: StableDiffusion) -> None:
    plain, imitating = task_of(model), task_of(model, retain_rounds=2)
    assert imitating.retain_data is not None
    assert same(imitating.retain_data(1), plain.retain(1))
    theirs, data = imitating.retain(1), imitating.retain_data(1)
    assert not torch.equal(theirs.target, data.target)
    assert same(theirs, data, but="target")


# --- batches by number ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchored", [0, 3])
def test_batch_i_depends_on_the_seed_and_i_alone(model: StableDiffusion, anchored: int) -> None:
    one, two = task_of(model, forget_rounds=anchored), task_of(model, forget_rounds=anchored)
    forward = [(one.forget(i), one.retain(i)) for i in range(5)]
    for i in (4, 0, 3, 0):
        assert same(two.forget(i), forward[i][0])
        assert same(two.retain(i), forward[i][1])
    other = task_of(model, forget_rounds=anchored, seed=1)
    for i in range(3):
        assert not torch.equal(other.forget(i).noisy, forward[i][0].noisy)
        assert not torch.equal(other.retain(i).noisy, forward[i][1].noisy)
        assert not torch.equal(forward[i][0].noisy, forward[i + 1][0].noisy)


@pytest.mark.parametrize(("pictures", "batch"), [(6, 3), (7, 3), (3, 7), (5, 5), (1, 4)])
def test_every_picture_comes_once_an_epoch_and_epochs_differ(pictures: int, batch: int) -> None:
    batches = numbered(pictures, batch, (0, "forget"), lambda rows, key: rows)
    stream = torch.cat([batches(i) for i in range(6 * pictures)]).tolist()
    epochs = [stream[i : i + pictures] for i in range(0, 6 * pictures, pictures)]
    assert all(sorted(epoch) == list(range(pictures)) for epoch in epochs)
    assert pictures < 3 or len({tuple(epoch) for epoch in epochs}) > 1
    assert len(batches(0)) == batch


def test_first_batch_only_repeats_the_pictures_with_new_noise(model: StableDiffusion) -> None:
    task = task_of(model, first_batch_only=True, kind="epsilon", empty_captions=0.0)
    latents = made_up()
    for batches, images in ((task.forget, latents.forget), (task.retain, latents.retain)):
        shown = [cleaned(batches(i), "epsilon") for i in range(4)]
        for again in shown[1:]:
            torch.testing.assert_close(again, shown[0], rtol=1e-2, atol=1e-2)
        found = [int((images.latents - picture).flatten(1).norm(dim=1).argmin()) for picture in shown[0]]
        assert len(set(found)) == BATCH
        assert not torch.equal(batches(0).target, batches(1).target)
        assert not torch.equal(batches(0).timesteps, batches(1).timesteps)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.0), (0.1, 0.05, 0.16), (1.0, 1.0, 1.0)])
def test_a_share_of_the_retain_pictures_comes_without_its_prompt_and_no_forget_picture(
    model: StableDiffusion, share: float, low: float, high: float
) -> None:
    latents = made_up()
    task = task_of(model, latents=latents, empty_captions=share, batch=50)
    rows = [row for i in range(8) for row in rows_of(task.retain(i), latents.text)]
    assert low <= rows.count(0) / len(rows) <= high
    assert set(rows) <= {0, 4, 5}
    assert {row for i in range(4) for row in rows_of(task.forget(i), latents.text)} == {1}


def test_by_default_a_tenth_of_the_captions_is_empty_so_that_guidance_keeps_working(model: StableDiffusion) -> None:
    latents = made_up()
    task = task_of(model, latents=latents, batch=50)
    rows = [row for i in range(20) for row in rows_of(task.retain(i), latents.text)]
    assert 0.07 < rows.count(0) / len(rows) < 0.13


# --- the loss -------------------------------------------------------------------------------------------------------


def kept_share(timesteps: Tensor) -> Tensor:
    """The cumulative product of 1 - beta, written out from the embedded model's linear betas."""
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    return torch.from_numpy(np.cumprod(1 - betas))[timesteps].float().reshape(-1, 1, 1, 1)


def cleaned(batch: Any, kind: str) -> Tensor:
    """The latents behind a batch, from x_t = sqrt(a) x + sqrt(1 - a) e and what the target is said to be."""
    a = kept_share(batch.timesteps)
    if kind == "epsilon":
        return (batch.noisy - (1 - a).sqrt() * batch.target) / a.sqrt()
    return a.sqrt() * batch.noisy - (1 - a).sqrt() * batch.target


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_a_computation_by_hand(model: StableDiffusion, kind: str) -> None:
    latents = made_up()
    task = task_of(model, kind, latents=latents, empty_captions=0.0)
    scheduler = scheduler_that_predicts(kind, model)
    for batch, images in ((task.forget(1), latents.forget), (task.retain(2), latents.retain)):
        t, a = batch.timesteps, kept_share(batch.timesteps)
        shown = [int((images.latents - picture).flatten(1).norm(dim=1).argmin()) for picture in cleaned(batch, kind)]
        clean = images.latents[shown]
        noise = (batch.noisy - a.sqrt() * clean) / (1 - a).sqrt()
        assert 0.85 < float(noise.std()) < 1.15
        torch.testing.assert_close(batch.noisy, scheduler.add_noise(clean, noise, t), rtol=1e-4, atol=1e-4)
        target = noise if kind == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * clean
        torch.testing.assert_close(batch.target, target, rtol=1e-3, atol=1e-3)
        with torch.no_grad():
            seen = task.network(batch.noisy, t, encoder_hidden_states=latents.text[images.text[shown]]).sample
        expected = ((seen - target) ** 2).sum() / seen.numel()
        assert task.loss(task.network, batch).item() == pytest.approx(float(expected), rel=1e-3)


def test_a_scheduler_that_predicts_something_else_is_refused(model: StableDiffusion) -> None:
    task = task_of(model, "sample")
    with pytest.raises(InputError, match="predicts 'sample'; supported are epsilon and v_prediction"):
        task.retain(0)


def test_noise_and_velocity_are_the_two_targets(model: StableDiffusion) -> None:
    clean, noise, t = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 5.0), torch.tensor([400])
    a = kept_share(t)
    assert torch.equal(denoising_target(scheduler_that_predicts("epsilon", model), clean, noise, t), noise)
    velocity = denoising_target(scheduler_that_predicts("v_prediction", model), clean, noise, t)
    torch.testing.assert_close(velocity, 5 * a.sqrt() - 3 * (1 - a).sqrt(), rtol=1e-4, atol=1e-4)


def test_in_bfloat16_the_network_computes_in_it_and_losses_and_gradients_stay_float32(model: StableDiffusion) -> None:
    exact, rounded = task_of(model), task_of(model, dtype=torch.bfloat16)
    batch = exact.retain(0)
    values = [task.loss(task.network, batch) for task in (exact, rounded)]
    assert values[0].dtype == values[1].dtype == torch.float32
    assert values[0].item() != values[1].item()
    assert values[1].item() == pytest.approx(values[0].item(), rel=0.02)
    values[1].backward()
    assert {w.grad.dtype for w in rounded.weights.values()} == {torch.float32}


# --- anchors --------------------------------------------------------------------------------------------------------


def anchor_row(batch: Any, latents: Latents) -> list[int]:
    return [int((latents.text == text).flatten(1).all(1).nonzero()[0]) for text in batch.anchor.text]


def test_the_anchor_is_the_untouched_networks_prediction_and_trimming_does_not_change_it(model: StableDiffusion) -> None:
    latents = made_up()
    told: list[tuple[int, int]] = []
    task = task_of(model, latents=latents, forget_rounds=3, progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 3), (2, 3), (3, 3)]
    untouched = model.network()
    weights = {name: weight for name, weight in task.weights.items() if weight.ndim > 1}
    reinitialise(weights, {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}, "normal", generator(0))
    used = set()
    for i in range(3):
        batch = task.forget(i)
        rows = anchor_row(batch, latents)
        used |= set(rows)
        with torch.no_grad():
            direct = untouched(batch.noisy, batch.timesteps, encoder_hidden_states=latents.text[rows]).sample
            now = task.network(batch.noisy, batch.timesteps, encoder_hidden_states=latents.text[rows]).sample
            named = task.network(batch.noisy, batch.timesteps, encoder_hidden_states=batch.prompt.text).sample
        assert torch.equal(batch.unlearn_target, direct)
        assert not torch.allclose(now, direct, atol=1e-3)
        assert task.unlearn(task.network, batch).item() == pytest.approx(float((named - direct).pow(2).mean()), rel=1e-5)
    assert used == {2, 3}  # several anchors share the work


def test_half_of_what_unlearning_looks_at_comes_from_pictures_of_the_anchor_and_the_score_sees_none(model: StableDiffusion) -> None:
    latents = made_up()
    instead = replace(latents, forget=replace(latents.forget, anchor_latents=torch.full_like(latents.forget.latents, 9.0)))
    task, plain = task_of(model, latents=instead, forget_rounds=8), task_of(model, latents=latents, forget_rounds=8)
    untouched, moved = model.network(), 0
    for i in range(8):
        batch, other = task.forget(i), plain.forget(i)
        assert torch.equal(other.unlearn_input, other.noisy)
        for name in ("noisy", "target", "prompt.text", "timesteps"):  # those of the training loss
            assert torch.equal(tensors_of(batch)[name], tensors_of(other)[name])
        rows = (batch.unlearn_input != batch.noisy).flatten(1).any(1)
        moved += int(rows.sum())
        with torch.no_grad():
            direct = untouched(batch.unlearn_input, batch.timesteps, encoder_hidden_states=batch.anchor.text).sample
        assert torch.equal(batch.unlearn_target, direct)
    assert 8 <= moved <= 24  # of 32


def test_anchored_batches_come_round_again(model: StableDiffusion) -> None:
    task = task_of(model, forget_rounds=3)
    for i in range(3):
        assert same(task.forget(i), task.forget(i + 3))
    assert not torch.equal(task.forget(0).noisy, task.forget(1).noisy)


def test_at_the_start_the_distance_to_the_anchor_is_that_of_two_predictions_and_the_same_text_has_none(model: StableDiffusion) -> None:
    latents = made_up()
    itself = replace(latents, forget=replace(latents.forget, anchors=torch.full((5, 1), 1)))
    assert (task := task_of(model, latents=itself, forget_rounds=1)).unlearn(task.network, task.forget(0)).item() < 1e-10
    assert (task := task_of(model, latents=latents, forget_rounds=1)).unlearn(task.network, task.forget(0)).item() > 1e-8


def test_a_retain_target_of_the_original_is_its_prediction_and_nothing_is_lost_at_the_start(model: StableDiffusion) -> None:
    told: list[tuple[int, int]] = []
    task = task_of(model, forget_rounds=2, retain_rounds=3, progress=lambda *numbers: told.append(numbers))
    data = task_of(model)
    assert told == [(i, 5) for i in range(1, 6)]
    for i in range(3):
        batch, plain = task.retain(i), data.retain(i)
        assert same(batch, plain, but="target")
        assert task.loss(task.network, batch).item() == 0
        assert data.loss(data.network, plain).item() > 0.1  # the noise itself nobody can predict
        assert same(batch, task.retain(i + 3))


def test_an_anchor_is_needed_only_where_forgetting_goes_towards_one(model: StableDiffusion) -> None:
    latents = made_up()
    bare = replace(latents, forget=replace(latents.forget, anchors=torch.zeros(5, 0, dtype=torch.int64)))
    with pytest.raises(InputError, match="give --anchor WORD or --unlearn ascent"):
        task_of(model, latents=bare, forget_rounds=1)
    assert task_of(model, latents=bare).forget(0).anchor is None


# --- the model ------------------------------------------------------------------------------------------------------


def test_embeddings_are_what_the_pipeline_itself_uses(model: StableDiffusion) -> None:
    prompts = ["a star", "a red ring on a white background", ""]
    torch.testing.assert_close(model.embed(prompts), model.pipeline.encode_prompt(prompts, "cpu", 1, False)[0])


def test_latents_are_a_draw_from_the_posterior_scaled_as_the_pipeline_scales_them(model: StableDiffusion) -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=generator("pixels")) * 2 - 1
    posterior = model.pipeline.vae.encode(pixels).latent_dist
    factor = model.pipeline.vae.config.scaling_factor
    z = (model.encode(pixels) / factor - posterior.mean) / posterior.std
    assert 0.8 < float(z.std()) < 1.2
    assert torch.equal(model.encode(pixels), model.encode(pixels))


def test_the_unet_alone_is_float32_in_evaluation_mode_and_a_fresh_copy_every_time(model: StableDiffusion) -> None:
    one, two = model.network(), model.network()
    assert {p.dtype for p in one.parameters()} == {torch.float32}
    assert not one.training
    assert one is not two
    with torch.no_grad():
        next(one.parameters()).zero_()
    assert next(two.parameters()).any()


def test_another_scheduler_is_of_that_sampler_alone(model: StableDiffusion, tiny_pipeline: Path) -> None:
    """In any order, each sampler draws what it draws alone; the other one as a pipeline does whose scheduler was exchanged."""
    import diffusers

    prompts, own = ["a star", "a ring"], model.scheduler_name

    def drawn(scheduler: str | None, sampler: Any = None) -> list[bytes]:
        sample = sampler or model.sampler(2, 2.0, scheduler)
        return [image.tobytes() for image in sample(prompts, [generator("scheduler", i) for i in range(2)])]

    plain = drawn(None)
    lms = model.sampler(2, 2.0, "LMSDiscreteScheduler")
    assert drawn(None) == plain
    other = drawn("", lms)
    assert other != plain
    assert drawn(None) == drawn(own) == plain
    assert drawn("", lms) == other
    assert model.scheduler_name == own
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.LMSDiscreteScheduler.from_config(pipeline.scheduler.config)
    noise = [generator("scheduler", i) for i in range(2)]
    images = pipeline(prompts, num_inference_steps=2, guidance_scale=2.0, generator=noise, height=model.size, width=model.size).images
    assert [image.tobytes() for image in images] == other


def test_parts_that_were_freed_come_back(model: StableDiffusion) -> None:
    before = model.embed(["a star"])
    model.free()
    assert model._pipeline is None
    assert torch.equal(model.embed(["a star"]), before)


@pytest.fixture(scope="module")
def half(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder saved whole in float16, which breaks on a plain from_pretrained."""
    from diffusers import StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("half") / "pipeline"
    StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None, requires_safety_checker=False).to(
        dtype=torch.float16
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_source_in_half_precision_loads_in_one_dtype_and_draws(half: Path, dtype: str) -> None:
    model = StableDiffusion(half, dtype=dtype)
    parts = (model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {DTYPES[dtype]}
    assert len(model.sampler(2, 4.0)(["a star"], [generator(0)])) == 1
    assert model.embed(["a star"]).dtype == model.encode(torch.zeros(1, 3, 64, 64)).dtype == torch.float32
    assert {p.dtype for p in model.network().parameters()} == {torch.float32}


def test_predictions_in_float32_are_plain_calls(model: StableDiffusion) -> None:
    unet, latents = model.network(), made_up()
    noisy, t, text = latents.forget.latents, torch.arange(5) * 100, latents.text[:1].expand(5, -1, -1)
    with torch.no_grad():
        assert torch.equal(predict(unet, noisy, t, Conditioning(text), torch.float32), unet(noisy, t, text).sample)


def test_a_folder_whose_weights_are_torn_is_named(tiny_pipeline: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "unet", "vae"):
        folder = Path(shutil.copytree(tiny_pipeline, tmp_path / part))
        file = next((folder / part).glob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(InputError, match=f"{part} does not load as a pipeline"):
            _ = StableDiffusion(folder).pipeline


# --- finding a model and a device -----------------------------------------------------------------------------------


def test_a_folder_and_the_embedded_model_are_found(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(str(tiny_pipeline)) == tiny_pipeline
    monkeypatch.chdir(tiny_pipeline.parent)
    assert locate(tiny_pipeline.name).resolve() == tiny_pipeline
    assert locate(f"./{tiny_pipeline.name}").resolve() == tiny_pipeline
    monkeypatch.setattr("erase.demo.pipeline_path", lambda model="demo": tiny_pipeline)
    assert locate("demo") == tiny_pipeline
    monkeypatch.setenv("HOME", str(tiny_pipeline.parent))
    assert locate(f"~/{tiny_pipeline.name}") == tiny_pipeline


def another_family(folder: Path) -> Path:
    (folder / "model_index.json").write_text('{"_class_name": "Flux2Pipeline", "transformer": ["diffusers", "Flux2Transformer2DModel"]}')
    return folder


KNOWN = ", ".join(EMBEDDED)


def a_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tmp: "nowhere", f"'nowhere' is neither a folder nor a hub name; expected {KNOWN}, a diffusers folder, or OWNER/NAME"),
        (lambda tmp: "scens", "'scens' is neither a folder nor a hub name, did you mean \"scenes\"?; expected demo, "),
        (lambda tmp: tmp / "not-there", "not-there does not exist; expected a diffusers folder"),
        (lambda tmp: tmp, "has no model_index.json"),
        (lambda tmp: another_family(tmp), "Flux2Pipeline, not yet supported; expected StableDiffusionPipeline"),
        (lambda tmp: a_file(tmp / "model.ckpt"), "model.ckpt is a pickle"),
        (lambda tmp: tmp / "nowhere.ckpt", "nowhere.ckpt is a pickle"),
        (lambda tmp: a_file(tmp / "model.bin"), "model.bin is a pickle"),
        (lambda tmp: "models/model.pt", "model.pt is a pickle"),
        (lambda tmp: a_file(tmp / "model.safetensors"), "model.safetensors is not a safetensors file"),
        (lambda tmp: a_file(tmp / "notes.txt"), "notes.txt is a file"),
    ],
)
def test_what_is_no_model_is_refused_with_what_was_expected(tmp_path: Path, make: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        locate(str(make(tmp_path)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_name_without_a_network_is_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"'someone/some-model' could not be fetched .* give a local diffusers folder") as caught:
        locate("someone/some-model")
    assert "\n" not in str(caught.value)


def test_a_hub_error_without_a_text_is_refused_just_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"'someone/some-model' could not be fetched from the hub \(TimeoutError\)"):
        locate("someone/some-model")


def test_auto_is_a_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.zeros(1, device=pick_device("auto"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"--device {device} is not available .* give --device cpu or auto"):
        pick_device(device)


def test_a_card_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == "cuda:0"
    with pytest.raises(InputError, match=r"--device cuda:1 is not available"):
        pick_device("cuda:1")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu gpu"])
def test_a_device_that_nobody_knows_is_refused_with_those_that_are(device: str) -> None:
    with pytest.raises(InputError, match="is unknown; expected auto, cpu, cuda, cuda:N or mps"):
        pick_device(device)


def test_mean_squared_error_is_the_mean_over_the_batch(model: StableDiffusion) -> None:
    task = task_of(model)
    batch = task.retain(0)
    alone = [task.loss(task.network, one).item() for one in batch.split(1)]
    assert task.loss(task.network, batch).item() == pytest.approx(sum(alone) / BATCH, rel=1e-4)
    with torch.no_grad():
        seen = predict(task.network, batch.noisy, batch.timesteps, batch.prompt, torch.float32)
    assert F.mse_loss(seen, batch.target).item() == pytest.approx(task.loss(task.network, batch).item())


def test_a_scheduler_that_cannot_draw_in_so_many_steps_is_one_line(tiny_pipeline: Path) -> None:
    own = StableDiffusion(tiny_pipeline)
    with pytest.raises(InputError, match=r"scheduler cannot draw in 5000 steps \(.*; give another number"):
        own.sampler(5000, 1.0, "DDIMScheduler")(["a star"], [torch.Generator()])
