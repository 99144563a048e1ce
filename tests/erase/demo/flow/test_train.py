"""The trainer of the flow model starts again where it stopped, and writes a pipeline that computes what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import CLIPTextModel, CLIPTokenizer

from erase.checkpoints.folder import check_model_folder
from erase.demo import clip_path, pipeline_path
from erase.demo.flow import networks, train
from erase.demo.flow.world import TOKEN, words
from erase.demo.networks import TOKENS, build_tokenizer
from erase.demo.shapes import world
from eval.vision.clip import Clip

PLAN = train.Plan(pictures=40, steps=3, width=32, depth=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped after two of its three steps and started again."""
    folder = tmp_path_factory.mktemp("flow")
    levels, calls = train.noise_levels, iter(range(100))

    def stopped(count: int, generator: torch.Generator) -> Tensor:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return levels(count, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHUNK", 40)
        patch.setattr(train, "BATCH", 8)
        patch.setattr(train, "EVERY", 1)
        patch.setattr(train, "noise_levels", stopped)
        with pytest.raises(KeyboardInterrupt):
            train.train(PLAN, folder)
        return train.train(PLAN, folder)


def test_a_stopped_training_ends_with_the_same_weights(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CHUNK", 40)
    monkeypatch.setattr(train, "BATCH", 8)
    for name in ("latents.safetensors", "tokenizer"):
        (tmp_path / name).symlink_to(folder / name)
    train.train(PLAN, tmp_path, "denoiser")
    one, other = (load_file(place / "checkpoints" / "denoiser.safetensors") for place in (folder, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_pipeline_predicts_what_was_trained(folder: Path) -> None:
    check_model_folder(folder / "pipeline")
    pipeline = DiffusionPipeline.from_pretrained(folder / "pipeline", text_encoder_3=None, tokenizer_3=None)
    assert type(pipeline).__name__ == "StableDiffusion3Pipeline"
    transformer = train.build(PLAN)
    assert train.newest(transformer, folder) == 3
    texts = train.Texts(PLAN, list(world.scenes(2, 0)), pipeline.tokenizer)
    noisy, timesteps = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 900.0])
    with torch.no_grad():
        read = pipeline.encode_prompt([texts.captions[2], ""], None, None, do_classifier_free_guidance=False)
        assert_close(texts[torch.tensor([2, 0])], (read[0], read[2]), rtol=1e-2, atol=3e-2)  # files and cache are in float16
        inputs = {"encoder_hidden_states": read[0], "pooled_projections": read[2], "timestep": timesteps}
        theirs = pipeline.transformer(hidden_states=noisy, **inputs).sample
        assert_close(transformer(hidden_states=noisy, **inputs).sample, theirs, rtol=1e-2, atol=2e-3)
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {tensor.dtype for part in parts for tensor in part.parameters()} == {torch.float32}
    assert pipeline("a star", num_inference_steps=1).images[0].size == (64, 64)


def test_the_pipeline_has_the_autoencoder_of_the_shapes(folder: Path) -> None:
    ours, theirs = (load_file(home / "vae" / "diffusion_pytorch_model.safetensors") for home in (folder / "pipeline", pipeline_path()))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads((folder / "pipeline" / "vae" / "config.json").read_text())["shift_factor"] == 0.0


def test_the_text_encoders_are_those_of_the_shapes_pipeline_and_of_their_clip(tmp_path: Path) -> None:
    words_of = build_tokenizer(tmp_path, words())
    assert len(words_of.tokenize(TOKEN)) == 1
    texts = ["a striped star", "a shape like a doughnut"]

    def tokens(tokenizer: Any) -> Tensor:
        ids: Tensor = tokenizer(texts, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
        return ids

    with torch.no_grad():
        first, second = (encoder(tokens(words_of), output_hidden_states=True) for encoder in networks.text_encoders(words_of))
        theirs = CLIPTextModel.from_pretrained(pipeline_path() / "text_encoder")
        expected = theirs(tokens(CLIPTokenizer.from_pretrained(pipeline_path() / "tokenizer")), output_hidden_states=True)
        assert_close(first.hidden_states, expected.hidden_states)
        assert_close(first.text_embeds, expected.pooler_output)
        assert_close(second.text_embeds, Clip(pretrained=clip_path()).texts(texts), rtol=1e-3, atol=1e-3)


def test_noise_levels_are_those_of_the_scheduler_evenly() -> None:
    levels = train.noise_levels(1000, torch.Generator().manual_seed(0))
    assert_close(1000 * levels, networks.build_scheduler().timesteps.flip(0), rtol=0, atol=3.1)
    assert 0.8 < float((levels > 0.4).float().mean()) < 0.85


def test_data_without_a_concept_never_shows_it() -> None:
    scenes = train.scenes(replace(PLAN, pictures=500, without="star"))
    assert {scene.shape for chunk in scenes for scene in chunk} == {*world.SHAPES} - {"star"}
