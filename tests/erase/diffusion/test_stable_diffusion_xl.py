"""SDXL behind the same door: both encoders as diffusers reads them, sizes and pooled text in every batch, and the whole job."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from erase.checkpoints.folder import check_model_folder
from erase.diffusion import StableDiffusion, StableDiffusionXL, TaskConfig, diffusion_task, open_model, predict
from erase.diffusion.latents import LatentCache, Latents, read_latents
from erase.errors import InputError
from erase.images import Picture, make_images
from erase.pipeline import Job, erase_concept
from erase.pipeline.anchor_search import _compare
from erase.scope import open_scope
from erase.task import generator

PROMPTS = ["a red star", "", "a blue ring on a plain ground"]
BATCH = 4


@pytest.fixture(scope="module")
def model(family_folders: dict[str, Path]) -> StableDiffusion:
    return open_model(family_folders["sdxl"])


@pytest.fixture(scope="module")
def pictures(model: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return make_images(tmp_path_factory.mktemp("pictures"), [f"a {c} star" for c in ("red", "blue")] * 3, 0, model.sampler(1, 2.0), 3)


@pytest.fixture(scope="module")
def latents(model: StableDiffusion, pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Latents:
    path = tmp_path_factory.mktemp("latents") / "latents.safetensors"
    anchors = [["a ring"], ["a heart"], ["a ring"]]
    cache = LatentCache(model)
    cache.add_set("forget", pictures[:3])
    cache.add_set("retain", pictures[3:])
    cache.add_anchors(anchors)
    cache.write(path)
    return read_latents(path)


def test_a_folder_opens_in_the_wrapper_of_its_family(family_folders: dict[str, Path]) -> None:
    kinds = {family: type(open_model(folder)) for family, folder in family_folders.items()}
    assert kinds == {"sd1": StableDiffusion, "sd2": StableDiffusion, "sdxl": StableDiffusionXL}


def test_text_is_embedded_as_the_pipeline_does(model: StableDiffusion) -> None:
    with torch.no_grad():
        said = [model.pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False) for prompt in PROMPTS]
        _, nothing, _, pooled_nothing = model.pipeline.encode_prompt("a", device="cpu", do_classifier_free_guidance=True)
    text, pooled = model.embed(PROMPTS), model.pool(PROMPTS)
    assert pooled is not None
    for i in (0, 2):
        torch.testing.assert_close(text[i], said[i][0][0])
        torch.testing.assert_close(pooled[i], said[i][2][0])
    assert torch.equal(text[1], nothing[0]), "the empty prompt is what guidance compares with: nothing"
    assert torch.equal(pooled[1], pooled_nothing[0])


def sizes(model: StableDiffusion) -> Tensor:
    found = model.time_ids()
    assert found is not None
    return found


def test_the_size_is_told_as_the_pipeline_tells_it(model: StableDiffusion) -> None:
    size = (model.size, model.size)
    width = model.pipeline.text_encoder_2.config.projection_dim
    told = model.pipeline._get_add_time_ids(size, (0, 0), size, torch.float32, text_encoder_projection_dim=width)
    assert torch.equal(sizes(model), told[0])


def test_a_prediction_is_a_plain_call(model: StableDiffusion) -> None:
    unet, noisy, t = model.network(), torch.randn(2, 4, 8, 8, generator=generator(0)), torch.tensor([10, 900])
    read = model.conditioning(PROMPTS[:2], "cpu")
    assert torch.equal(read.text, model.embed(PROMPTS[:2]))
    assert read.pooled is not None
    assert torch.equal(read.pooled, model.pool(PROMPTS[:2]))
    assert read.time_ids is not None
    assert torch.equal(read.time_ids, sizes(model).expand(2, -1))
    with torch.no_grad():
        predicted = predict(unet, noisy, t, read, torch.float32)
        beside = {"text_embeds": read.pooled, "time_ids": read.time_ids}
        assert torch.equal(predicted, unet(noisy, t, read.text, added_cond_kwargs=beside).sample)
        other = replace(read, time_ids=read.time_ids * 2)
        assert not torch.equal(predicted, predict(unet, noisy, t, other, torch.float32)), "the size has an effect"


def test_text_and_pooled_text_of_a_batch_belong_together(model: StableDiffusion, latents: Latents) -> None:
    assert latents.pooled is not None
    assert latents.pooled.shape[0] == latents.text.shape[0]
    unet = model.network()
    config = TaskConfig(BATCH, forget_rounds=2, anchor_predictions=True, empty_captions=0.5)
    task = diffusion_task(unet, model.objective(), latents, open_scope(unet, "cross-attention"), config)

    def row(tensor: Tensor, among: Tensor) -> int:
        return int((among == tensor).flatten(1).all(1).nonzero()[0])

    for i in range(3):
        forget, retain = task.forget(i), task.retain(i)
        for conditioning in (forget.prompt, forget.anchor, retain.prompt):
            assert conditioning is not None
            assert conditioning.pooled is not None
            rows = [row(text, latents.text) for text in conditioning.text]
            assert rows == [row(pooled, latents.pooled) for pooled in conditioning.pooled]
            assert torch.equal(conditioning.time_ids, sizes(model).expand(BATCH, -1))
    assert not torch.equal(task.forget(0).prompt.pooled, task.forget(0).anchor.pooled)
    for loss, batches in ((task.loss, task.retain), (task.unlearn, task.forget)):
        gradients = torch.autograd.grad(loss(unet, batches(0)), list(task.weights.values()))
        assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)


def test_the_anchors_target_is_the_untouched_networks_answer(model: StableDiffusion, latents: Latents) -> None:
    unet = model.network()
    config = TaskConfig(BATCH, forget_rounds=1, anchor_predictions=True)
    batch = diffusion_task(unet, model.objective(), latents, open_scope(unet, "cross-attention"), config).forget(0)
    with torch.no_grad():
        predicted = predict(unet, batch.unlearn_input, batch.timesteps, batch.anchor, torch.float32)
    assert torch.equal(batch.unlearn_target, predicted)


def test_in_half_precision_the_autoencoder_works_in_float32(family_folders: dict[str, Path], model: StableDiffusion) -> None:
    """SDXL's own overflows in float16; so does this one, made to."""
    half = open_model(family_folders["sdxl"], dtype="float16")
    pixels = torch.rand(1, 3, 64, 64, generator=generator(0)) * 2 - 1
    torch.testing.assert_close(half.encode(pixels), model.encode(pixels), rtol=1e-3, atol=1e-3)
    assert half.pipeline.vae.dtype == torch.float32
    assert half.pipeline.unet.dtype == torch.float16
    assert len(half.sampler(1, 2.0)(["a"], [generator(0)])) == 1


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_the_whole_job_is_done(family: str, family_folders: dict[str, Path], tmp_path: Path) -> None:
    values = {"steps": 2, "batch": 2, "sensitivity_batches": 2, "learning_rate": 0.001}
    small: dict[str, Any] = {"forget_count": 3, "retain_count": 3, "evaluate_count": 2, "sampling_steps": 2, "sampling_batch": 3}
    job = Job(concepts=("star",), model=str(family_folders[family]), output=str(tmp_path / "run"), device="cpu", **small)
    run = erase_concept(job, values)
    check_model_folder(run / "model")
    before = load_file(family_folders[family] / "unet/diffusion_pytorch_model.safetensors")
    after = load_file(run / "model/unet/diffusion_pytorch_model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("attn2" in name for name in changed)
    assert (run / "samples/after/00000.png").is_file()
    card = (run / "model/README.md").read_text()
    assert ("from diffusers import StableDiffusionXLPipeline" in card) == (family == "sdxl")


def test_anchors_are_compared_with_pooled_text_too(model: StableDiffusion, latents: Latents) -> None:
    unet, two = model.network(), latents.forget.latents[:2]
    shows, distance = _compare(unet, model, two, ["a star"] * 2, ["a star"] * 2, 0, 2)
    assert (shows, distance) == (1.0, 0.0)
    assert _compare(unet, model, two, ["a star"] * 2, ["a ring"] * 2, 0, 2)[1] > 0


def test_sdxl_without_its_second_encoder_is_named(family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family_folders["sdxl"], tmp_path / "model"))
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(InputError, match="lacks its part text_encoder_2"):
        check_model_folder(folder)
    index = json.loads((folder / "model_index.json").read_text())
    for value in ([None, None], None):  # as a refiner has it; not at all
        said = {name: part for name, part in {**index, "text_encoder_2": value}.items() if part is not None}
        (folder / "model_index.json").write_text(json.dumps(said))
        with pytest.raises(InputError, match="is a StableDiffusionXLPipeline without text_encoder_2; give a model with all of its parts"):
            check_model_folder(folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "text_encoder_2").mkdir()
    with pytest.raises(InputError, match="has no weights for text_encoder_2"):
        check_model_folder(folder)
