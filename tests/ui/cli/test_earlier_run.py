"""Run folders of an earlier version (tests/data/earlier_run): they resume, evaluate, compare and export with this one."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from erase.run import Run
from ui.cli.main import main

DATA = Path(__file__).resolve().parents[2] / "data" / "earlier_run"
FLAGS = shlex.split(
    "--concept star.toml --device cpu --model pipeline --forget-count 2 --retain-count 2 --evaluate-count 2 --sampling-steps 1"
    " --sampling-batch 4 --steps 3 --batch 2 --sensitivity-batches 1 --learning-rate 0.001"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both runs in the working directory, as whoever made them has them."""
    place = Path(shutil.copytree(DATA, tmp_path / "here"))
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(place / "pipeline" / part, place / "finished" / "model" / part)
    monkeypatch.chdir(place)
    return place


def test_a_stopped_run_resumes_after_its_checkpoint(folder: Path) -> None:
    first = (folder / "stopped" / "stats.jsonl").read_bytes().splitlines()[:2]
    drawn = {path: path.stat().st_mtime_ns for path in (folder / "stopped").rglob("*/*.png")}
    assert main([*FLAGS, "--output", "stopped"]) == 0
    assert (folder / "stopped" / "stats.jsonl").read_bytes().splitlines()[:2] == first
    assert [step["step"] for step in Run.read(folder / "stopped").steps()] == [1, 2, 3]
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    ours, theirs = (load_file(folder / name / "weights.safetensors") for name in ("stopped", "finished"))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-5, rtol=1e-4)
    report = json.loads((folder / "stopped" / "report.json").read_text(encoding="utf-8"))
    assert report["concept"] == "star.toml"


def test_a_run_without_output_finds_the_stopped_one(folder: Path) -> None:
    shutil.move(folder / "stopped", folder / "runs" / "star.toml-pipeline-scissorhands-1")
    assert main(FLAGS) == 0
    assert [path.name for path in (folder / "runs").iterdir()] == ["star.toml-pipeline-scissorhands-1"]
    assert Run.read(folder / "runs" / "star.toml-pipeline-scissorhands-1").done("after")


def test_a_finished_run_is_left_as_it_is_and_another_option_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (folder / "finished" / "model").rglob("*.safetensors")}
    assert main([*FLAGS, "--output", "finished"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert main([*FLAGS, "--output", "finished", "--cross-attention-rate", "2"]) == 2
    assert "method_options.cross_attention_rate: 1.0 there, 2.0 now" in capsys.readouterr().err


def test_it_evaluates_compares_and_exports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = json.loads((folder / "finished" / "report.json").read_text(encoding="utf-8"))
    assert main(["evaluate", "finished", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for key in ("concept", "model", "method", "preset", "before", "after"):
        assert report[key] == earlier[key], key
    assert (folder / "finished" / "report.html").exists()
    assert main(["compare", "finished"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["export", "finished", "--output", "exported"]) == 0
    erased = folder / "finished" / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert (folder / "exported" / "unet" / erased.name).read_bytes() == erased.read_bytes()


def test_it_serves_as_the_model_of_the_next_run(folder: Path) -> None:
    flags = [*FLAGS[2:], "--model", "finished", "--concept", "red", "--output", "next"]
    assert main(flags) == 0
    assert Run.read(folder / "next").options["earlier"] == ["star"]
