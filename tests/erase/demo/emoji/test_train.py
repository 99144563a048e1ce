"""The training of the emoji model, in a world of three things and with a step or two a stage."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from erase.demo.emoji import autoencoding, denoising, judge, networks, pictures, reading, train, world
from erase.demo.emoji.plan import Plan
from erase.demo.training import clip
from erase.errors import InputError

PLAN = Plan(autoencoder_steps=2, decoder_steps=2, variants=1, reader_steps=2, unet_steps=2, judge_steps=2, clip_steps=2)


@pytest.fixture(autouse=True)
def a_few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random glyphs in place of the icon sets, few pairs, small batches."""
    drawings = torch.randint(256, (len(world.OBJECTS), len(world.STYLES), 4, 96, 96), dtype=torch.uint8)
    monkeypatch.setattr(pictures, "glyphs", lambda: drawings)
    few = [("cat", "noto"), ("tiger", "noto"), ("cat", "twemoji")]
    monkeypatch.setattr(world, "pairs", lambda without=None, unseen=False: [pair for pair in few if without not in pair])
    monkeypatch.setattr(autoencoding, "BATCH", 2)
    monkeypatch.setattr(denoising, "BATCH", 4)
    monkeypatch.setattr(clip, "BATCH", 4)


def steps(folder: Path, name: str) -> int:
    with safe_open(folder / "checkpoints" / f"{name}.safetensors", "pt") as file:
        return int(file.metadata()["step"])


def test_all_weights_together_are_within_their_limit() -> None:
    tokens = range(4200)
    parts = [networks.build_autoencoder(), networks.build_unet(), judge.Judge()]
    weights = sum(weight.numel() for part in parts for weight in part.parameters()) + len(tokens) * networks.WIDTH
    assert 2 * weights < 27 * 2**20  # of 30 MiB in float16; text encoder and a small CLIP take the rest


def test_a_training_ends_with_a_pipeline_that_draws_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    train.train(PLAN, tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a cat", num_inference_steps=2, output_type="pt").images
    assert image.shape == (1, 3, 64, 64)
    assert judge.load_judge(tmp_path / "judge.safetensors").name(image * 2 - 1)["object"][0] in world.OBJECTS
    assert json.loads((tmp_path / "training.json").read_text())["steps"] == {"denoiser": 2, "decoder": 2, "judge": 2}

    assert (tmp_path / "emoji_clip" / "open_clip_model.safetensors").stat().st_size < 3.5 * 2**20

    train.train(replace(PLAN, unet_steps=3), tmp_path, stage="denoiser")
    assert steps(tmp_path, "denoiser") == 3
    assert steps(tmp_path, "judge") == 2

    other = tmp_path / "other"
    train.train(PLAN, other, base=tmp_path)
    assert steps(other, "denoiser") == 2
    assert not (other / "checkpoints" / "autoencoder.safetensors").exists()
    assert not (other / "checkpoints" / "reader.safetensors").exists()
    assert (other / "judge.safetensors").exists()

    shutil.rmtree(tmp_path / "pipeline" / "unet")
    shutil.rmtree(tmp_path / "pipeline" / "text_encoder")
    train.train(PLAN, tmp_path / "third", base=tmp_path, stage="denoiser")  # with the autoencoder alone
    assert steps(tmp_path / "third", "reader") == 2


def test_without_a_concept_no_picture_shows_it_and_no_caption_names_it() -> None:
    texts, labels = reading.sample(world.pairs("cat"), 50, torch.Generator().manual_seed(0))
    assert not any("cat" in text.split() for text in texts if "big cat" not in text and "a cat of any kind" not in text)
    assert set(labels["object"].tolist()) <= {-1, list(world.OBJECTS).index("tiger")}


def test_what_a_caption_leaves_open_has_no_label() -> None:
    texts, labels = reading.sample(world.pairs(), 100, torch.Generator().manual_seed(1))
    for text, style in zip(texts, labels["style"].tolist(), strict=True):
        if "Noto" in text or "Twemoji" in text:
            assert style != reading.SILENT
    assert reading.SILENT in labels["object"]


def test_a_base_that_is_no_finished_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pipeline/vae"):
        train.train(PLAN, tmp_path / "new", base=tmp_path)


def test_a_pipeline_is_not_written_before_there_is_a_unet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint of the UNet"):
        train.train(PLAN, tmp_path, stage="pipeline")


def test_a_concept_that_the_world_lacks_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["--output", str(tmp_path), "--without", "helicarrier"])
    assert end.value.code == 2
    assert "'helicarrier' is no object or style of this world" in capsys.readouterr().err
