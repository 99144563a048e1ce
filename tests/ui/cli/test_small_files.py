"""Small files from the command: written, loaded again, measured beside the run, and refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pipeline_runs import METHOD, job

from erase.checkpoints.lora.read import read_small
from erase.checkpoints.lora_file import read_lora
from erase.images import read_images
from erase.pipeline import erase_concept
from ui.cli.main import main


@pytest.fixture(scope="module")
def run(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and measured run on a tiny pipeline."""
    folder = erase_concept(job(tiny_pipeline, tmp_path_factory.mktemp("runs") / "star", device="cpu"), METHOD)
    assert main(["evaluate", str(folder)]) == 0
    return folder


def pixels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(image.path), dtype=int) for image in read_images(folder)])


def test_a_lora_is_loaded_again_and_measured_beside_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "star.safetensors"
    assert main(["export", str(run), "--format", "lora", "--rank", "1", "--output", str(file), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "rank 1, " in out
    assert "ComfyUI: folder models/loras, node Load LoRA (model only)" in out
    assert "<lora:star:1>" in out
    assert "whoever has the original leaves it out" in out
    assert len(re.findall("^warning: ", err, re.MULTILINE)) == 1
    assert "--format difference" in err
    report = json.loads((tmp_path / "star-report" / "report.json").read_text())
    titles = [row["title"] for row in report["measured"]]
    assert titles[:2] == ["the original", "the run's model"]
    assert [row.get("strength") for row in report["measured"][2:]] == [1.0, 0.5, 1.0]
    assert report["measured"][4]["negative"] == "star"
    assert {"ua", "ira"} <= report["measured"][2].keys()
    assert 0 < report["kept"] < 90
    assert all(0 <= row["kept"] <= 100 for row in report["layers"])
    page = (tmp_path / "star-report" / "report.html").read_text()
    assert "What it loses" in page
    assert "use the difference file" in page
    one = json.loads((tmp_path / "star-report" / "negative-prompt" / "report.json").read_text())["protocol"]
    assert one["negative"] == "star"
    assert one["lora"]["strength"] == 1.0
    images = {name: pixels(tmp_path / "star-report" / name / "samples" / "after") for name in ("strength-0.5", "strength-1")}
    assert not np.array_equal(images["strength-0.5"], images["strength-1"])


def test_a_difference_draws_the_images_of_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "star.safetensors"
    assert main(["export", str(run), "--format", "difference", "--output", str(file), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "to the bit" in out or "every bit" in out
    drawn, own = pixels(tmp_path / "star-report" / "strength-1" / "samples" / "after"), pixels(run / "samples" / "after")
    assert np.abs(drawn - own).max() <= 1  # the tiny pipeline is in float32, in which trimmed entries may be off by the last bit
    rows = json.loads((tmp_path / "star-report" / "report.json").read_text())["measured"]
    assert rows[1]["ua"]["value"] == rows[2]["ua"]["value"]


@pytest.mark.parametrize("trimming", [False, True])
def test_a_run_with_factors_exports_its_own(
    trimming: bool, tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = job(tiny_pipeline, tmp_path / "run", device="cpu", lora_rank=2, evaluate_count=1, sampling_steps=1)
    folder, file = erase_concept(given, {**METHOD, "trimming": trimming}), tmp_path / "star.safetensors"
    assert main(["export", str(folder), "--format", "lora", "--no-measure", "--output", str(file), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    own, written = read_lora(folder), read_small(file, tiny_pipeline).pairs()
    assert own is not None
    assert written.keys() == own.factors.keys()
    for layer, (up, down) in written.items():
        torch.testing.assert_close(up.flatten(1) @ down.flatten(1), own.factors[layer].difference().flatten(1), rtol=1e-4, atol=1e-6)
    assert bool(own.trimmed) == trimming, "there was something that the factors lack"
    assert ("rank 2, 100.0 % of the norm" in out) != trimming
    assert ("--format difference" in err) == trimming


def test_evaluate_measures_a_lora_on_top_of_the_original(run: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    file = tmp_path / "star.safetensors"
    assert main(["export", str(run), "--format", "diffusers-lora", "--keep-norm", "60", "--no-measure", "--output", str(file)]) == 0
    assert not (tmp_path / "star-report").exists()
    assert set(read_small(file, tiny_pipeline).pairs()) >= {"mid_block.attentions.0.transformer_blocks.0.attn2.to_k"}
    small = ["--count", "2", "--steps", "1", "--device", "cpu"]
    out = tmp_path / "evaluation"
    assert main(["evaluate", str(run), "--lora", str(file), "--strength", "0.5", "--output", str(out), *small]) == 0
    options = json.loads((out / "options.json").read_text())
    assert (options["lora"]["file"], options["lora"]["strength"]) == ("star.safetensors", 0.5)
    assert options["erased"].endswith("star.safetensors")
    assert "--strength 0.5" in json.loads((out / "report.json").read_text())["command"]
    none = tmp_path / "none"  # at no strength it draws the original's images
    given = ["--original", str(tiny_pipeline), "--concept", "star", "--lora", str(file), "--strength", "0"]
    assert main(["evaluate", *given, "--output", str(none), *small]) == 0
    assert np.array_equal(pixels(none / "samples" / "before"), pixels(none / "samples" / "after"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "4"], "--rank is for --format lora, diffusers-lora or difference, and --format is folder"),
        (["--format", "lora", "--rank", "4", "--keep-norm", "90"], "both say how large a LoRA becomes; give one of the two"),
        (["--format", "lora", "--keep-norm", "101"], "--keep-norm is 101; expected per cent, above 0 and up to 100"),
        (["--format", "lora", "--rank", "0"], "--rank is 0; expected 1 or more"),
        (["--format", "difference", "--rank", "4"], "has no rank: it is exact"),
        (["--format", "lora", "--push-to-hub", "a/b"], "publishes whole models"),
    ],
)
def test_flags_that_do_not_go_together(
    arguments: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--output", str(tmp_path / "x.safetensors"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "nowhere"), "--format", "lora", "--output", str(tmp_path / "x.safetensors")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_a_model_whose_original_is_not_known(run: Path, tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(run / "model"), "--format", "lora", "--output", str(tmp_path / "x.safetensors")]
    assert main(command) == 2
    assert "does not record its original; give the model before the erasure with --original" in capsys.readouterr().err
    assert main([*command, "--original", str(tiny_pipeline)]) == 0
    assert main([*command, "--original", str(tiny_pipeline)]) == 2
    assert "exists already; give another name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strength", "0.5"], "--strength is that of --lora, which is missing; give both"),
        (["--lora", "missing.safetensors"], "missing.safetensors does not exist; expected a LoRA"),
        (["--lora", "x.ckpt"], "x.ckpt is a pickle, which can run any code"),
    ],
)
def test_evaluate_refuses_a_file_in_one_line(arguments: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), *arguments, "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
