"""The embedded model and its judge are what the project says they are, and a concept that was there is gone after one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from erase.checkpoints.folder import read_provenance
from erase.demo import GUIDANCE, STEPS, gold_path, judge_path, pipeline_path
from erase.demo.shapes import world
from erase.demo.shapes.judge import Judge, load_judge
from erase.diffusion import StableDiffusion
from erase.images import load_pixels, make_images

ROOT = Path(__file__).resolve().parents[4]
WEIGHTS = judge_path().parent

RENDERS, RECONSTRUCTIONS = 99.5, 99.0
COUNTS = ["--forget-count", "32", "--retain-count", "64", "--evaluate-count", "24", "--sampling-steps", "12"]


@pytest.fixture(scope="module")
def plain() -> Any:
    """The embedded model as anybody would load it."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(pipeline_path())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(judge_path())


@pytest.fixture(scope="module")
def scenes() -> list[world.Scene]:
    """Scenes of a seed that no training has seen."""
    return list(world.scenes(400, seed=987654))


@pytest.fixture(scope="module")
def renders(scenes: list[world.Scene]) -> Tensor:
    drawn = np.stack([world.render(scene) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def agreement(judge: Judge, pictures: Tensor, scenes: list[world.Scene]) -> dict[str, float]:
    """Share of pictures, in %, of which each head says what the scene says."""
    found = judge.name(pictures)
    return {
        domain: 100 * float(np.mean([name == scene.attribute(domain) for name, scene in zip(names, scenes, strict=True)]))
        for domain, names in found.items()
    }


def test_weights_are_safetensors_of_at_most_25_mib_together() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".txt"}
    golds = [path for path in files if WEIGHTS / "without" in path.parents]
    assert sum(path.stat().st_size for path in files if path not in golds) <= 25 * 2**20
    assert sum(path.stat().st_size for path in golds) <= 14 * 2**20  # one model that was trained without a concept


def test_the_gold_standard_is_the_same_model_but_for_what_learns_words() -> None:
    gold = gold_path("heart") / "pipeline"
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (gold / vae).read_bytes() == (pipeline_path() / vae).read_bytes()
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        own, other = (load_file(folder / f"{part}.safetensors") for folder in (gold, pipeline_path()))
        assert {name: tensor.shape for name, tensor in own.items()} == {name: tensor.shape for name, tensor in other.items()}
        assert any(not torch.equal(own[name], other[name]) for name in own)


@pytest.mark.slow
def test_the_gold_standard_draws_no_heart_and_everything_else(tmp_path: Path) -> None:
    model, judge = StableDiffusion(gold_path("heart") / "pipeline"), load_judge(judge_path())
    texts = ["a solid red heart on a white background"] * 12 + ["a solid red square on a white background"] * 12
    made = make_images(tmp_path, texts, 7, model.sampler(STEPS, GUIDANCE), 24)
    seen = judge.name(load_pixels([picture.path for picture in made], world.SIZE))
    assert "heart" not in seen["shape"]
    assert seen["shape"][12:].count("square") >= 11
    assert seen["colour"].count("red") >= 23


def test_no_file_says_on_whose_machine_it_was_made() -> None:
    for path in WEIGHTS.rglob("*.json"):
        assert not {"/root", "/home", "/tmp", "/work"} & {part for part in path.read_text().split('"') if part.startswith("/")}, path
        content = json.loads(path.read_text())
        assert not str(content.get("_name_or_path", "")).startswith(("/", "~", ".")), path


def test_a_plain_pipeline_loads_it_in_one_dtype_and_draws(plain: Any) -> None:
    parts = (plain.unet, plain.vae, plain.text_encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}
    assert {type(part).__name__ for part in parts} == {"UNet2DConditionModel", "AutoencoderKL", "CLIPTextModel"}
    assert plain.vae_scale_factor == 8
    image = plain("a striped red star", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64)


def test_every_word_of_a_caption_is_one_token(plain: Any) -> None:
    split = {word: plain.tokenizer.tokenize(word) for word in world.words()}
    assert not {word: tokens for word, tokens in split.items() if len(tokens) != 1}


def test_the_judge_names_fresh_renders(judge: Judge, renders: Tensor, scenes: list[world.Scene]) -> None:
    found = agreement(judge, renders, scenes)
    assert set(found) == set(world.DOMAINS)
    assert all(share >= RENDERS for share in found.values()), found


def test_the_judge_names_what_the_autoencoder_makes_of_them(judge: Judge, renders: Tensor, scenes: list[world.Scene], plain: Any) -> None:
    with torch.no_grad():
        again = torch.cat([plain.vae.decode(plain.vae.encode(part).latent_dist.mean).sample for part in renders.split(50)])
    found = agreement(judge, again, scenes)
    assert all(share >= RECONSTRUCTIONS for share in found.values()), found
    assert float((again.clamp(-1, 1) - renders).abs().mean()) / 2 < 0.03  # of the range from black to white


def test_one_command_takes_a_concept_out_that_was_there_and_leaves_the_rest(tmp_path: Path) -> None:
    """The command as it is, but fewer pictures and denoising steps; in its own process, with as many threads as it likes."""
    run = tmp_path / "star"
    made = subprocess.run(
        [sys.executable, "-m", "erase", "--concept", "star", "--output", str(run), "--json", *COUNTS],
        cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    report = json.loads(made.stdout)
    before, after = ({name: report[which][name]["value"] for name in ("ua", "ira", "cra")} for which in ("before", "after"))
    # There was something to forget: a prompt that names a star drew one, and everything else came as asked.
    assert before["ua"] <= 10
    assert before["ira"] >= 90
    assert before["cra"] >= 90
    assert after["ua"] >= 90
    assert after["ira"] >= 85
    assert after["cra"] >= 85
    assert report["after"]["ua"]["n"] == 24
    assert read_provenance(run / "model")["concept"] == "star"
    assert (run / "comparison.png").exists()
