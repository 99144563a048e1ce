"""The shipped flow model is what the project says it is, and a concept that was there is gone after one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from erase.checkpoints.folder import check_model_folder
from erase.demo import FLOW, GUIDANCE, STEPS, judge_path, pipeline_path
from erase.demo.flow.networks import text_encoders
from erase.demo.shapes import world
from erase.demo.shapes.judge import load_judge
from erase.demo.worlds import KNOWN_MODELS, known_model
from erase.diffusion import open_model
from erase.images import load_pixels, make_images
from ui.cli.main import main

HOME = pipeline_path(FLOW)
COUNTS = "--forget-count 32 --retain-count 96 --evaluate-count 24"


def test_weights_are_safetensors_of_at_most_14_mib() -> None:
    files = [path for path in HOME.parent.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 14 * 2**20
    check_model_folder(HOME)
    assert known_model(HOME) is KNOWN_MODELS[FLOW]
    for path in HOME.rglob("*.json"):
        text = path.read_text()
        assert not {"/root", "/home", "/tmp", "/work"} & {part for part in text.split('"') if part.startswith("/")}, path
        assert not str(json.loads(text).get("_name_or_path", "")).startswith(("/", "~", ".")), path


def test_it_has_the_autoencoder_and_the_text_encoders_of_the_shapes() -> None:
    vae = Path("vae") / "diffusion_pytorch_model.safetensors"
    assert (HOME / vae).read_bytes() == (pipeline_path() / vae).read_bytes()
    pipeline = open_model(HOME).pipeline
    for ours, built in zip((pipeline.text_encoder, pipeline.text_encoder_2), text_encoders(pipeline.tokenizer), strict=True):
        theirs = built.state_dict()
        assert all(torch.equal(tensor, theirs[name].half().float()) for name, tensor in ours.state_dict().items())


def test_a_plain_pipeline_loads_it_in_one_dtype_and_draws() -> None:
    from diffusers import DiffusionPipeline

    plain: Any = DiffusionPipeline.from_pretrained(HOME, text_encoder_3=None, tokenizer_3=None)
    parts = (plain.transformer, plain.vae, plain.text_encoder, plain.text_encoder_2)
    assert {tensor.dtype for part in parts for tensor in part.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in load_file(HOME / "transformer" / "diffusion_pytorch_model.safetensors").values()} == {torch.float16}
    assert plain("a striped red star", num_inference_steps=1).images[0].size == (64, 64)


def test_it_draws_what_is_named(tmp_path: Path) -> None:
    shown = [world.Scene("star", "red", "striped", "white"), world.Scene("ring", "blue", "solid", "black")] * 6
    named = dict.fromkeys((*world.DOMAINS, "background"), world.NAMED)
    made = make_images(tmp_path, [world.phrase(scene, named) for scene in shown], 7, open_model(HOME).sampler(STEPS, GUIDANCE), 12)
    judged = load_judge(judge_path()).name(load_pixels([picture.path for picture in made], world.SIZE))
    for domain, names in judged.items():
        assert sum(name == scene.attribute(domain) for name, scene in zip(names, shown, strict=True)) >= 10, domain


@pytest.mark.slow
def test_one_command_takes_a_concept_out_and_leaves_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", FLOW, "--concept", "heart", "--output", str(tmp_path / "heart"), "--json", *COUNTS.split()]) == 0
    report = json.loads(capsys.readouterr().out)
    before, after = ({name: report[which][name]["value"] for name in ("ua", "ira", "cra")} for which in ("before", "after"))
    assert before["ua"] <= 10
    assert after["ua"] >= 90
    assert min(after["ira"] - before["ira"], after["cra"] - before["cra"]) >= -8
