"""The shipped weights of scenes: whole, of moderate size, and a concept goes from them while its companion stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from erase.checkpoints.folder import read_provenance
from erase.demo import judge_path, pipeline_path
from erase.demo.scenes import world as scenes
from erase.diffusion import locate
from eval.metrics.accuracy import judged_by, metrics
from eval.vision.detector import make_detector
from eval.vision.scene_objects import LABELS

ROOT = Path(__file__).resolve().parents[4]
HOME = judge_path("scenes").parent
COUNTS = ["--forget-count", "48", "--retain-count", "144", "--evaluate-count", "32"]
AUTOENCODER = pipeline_path("scenes") / "vae" / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def plain() -> Any:
    """The model as anybody would load it."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(pipeline_path("scenes"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_weights_are_safetensors_of_at_most_12_mib_together() -> None:
    """The autoencoder is the demo's file, and not there a second time."""
    files = [path for path in HOME.rglob("*") if path.is_file() and path != AUTOENCODER]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 12 * 2**20
    assert AUTOENCODER.read_bytes() == (pipeline_path() / "vae" / AUTOENCODER.name).read_bytes()


def test_no_file_says_on_whose_machine_it_was_made() -> None:
    for path in HOME.rglob("*.json"):
        assert not {part for part in path.read_text().split('"') if part.startswith(("/root", "/home", "/tmp", "/work"))}, path


def test_a_plain_pipeline_loads_it_in_one_dtype_and_draws(plain: Any) -> None:
    assert locate("scenes") == pipeline_path("scenes")
    parts = (plain.unet, plain.vae, plain.text_encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}
    assert not {word for word in scenes.words() if len(plain.tokenizer.tokenize(word)) != 1}
    image = plain("a red star left of a blue ring", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64)


def test_it_draws_things_in_number_and_place(plain: Any) -> None:
    """A floor far below what benchmarks/scenes_quality.py measures: chance puts a pair on its side one time in four."""
    prompts = {
        "a picture of a red star left of a blue ring": {
            "shape": "star", "colour": "red", "other_shape": "ring", "other_colour": "blue", "relation": "left of",
        },
        "a drawing of two green squares on a black background": {"shape": "square", "colour": "green", "count": "two"},
        "a picture of a yellow heart above a purple diamond": {
            "shape": "heart", "colour": "yellow", "other_shape": "diamond", "other_colour": "purple", "relation": "above",
        },
    }  # fmt: skip
    texts = [text for text in prompts for _ in range(4)]
    noise = [torch.Generator().manual_seed(i) for i in range(len(texts))]
    images = plain(texts, num_inference_steps=25, guidance_scale=4.0, generator=noise).images
    rows = [{"text": text, "role": "evaluate-retain", "attributes": prompts[text]} for text in texts]
    found = metrics(judged_by(rows, make_detector("scenes")(images), LABELS), "shape")
    assert found["things_kept"].value >= 50
    assert found["relation_kept"].value >= 50
    assert found["count_kept"].value >= 50


@pytest.mark.slow
def test_one_command_takes_a_shape_out_and_leaves_what_stands_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "star"
    made = subprocess.run(
        [sys.executable, "-m", "erase", "--model", "scenes", "--concept", "star", "--output", str(run), "--json", *COUNTS],
        cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    report = json.loads(made.stdout)
    before, after = (
        {name: metric["value"] for name, metric in report[which].items() if "value" in metric} for which in ("before", "after")
    )
    assert before["ua"] <= 15  # there was something to forget
    assert before["companion_kept"] >= 70
    assert after["ua"] >= 90
    assert after["companion_kept"] >= before["companion_kept"] - 20
    assert after["things_kept"] >= before["things_kept"] - 20
    assert report["protocol"]["detector"]["name"] == "scenes"
    assert read_provenance(run / "model")["concept"] == "star"
