"""What `export --for eval-unlearn` writes is what that package reads."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path

import pytest

from erase.concepts import load_concept
from erase.errors import InputError
from eval.measurement.eval_unlearn import COUNT, configuration, write_configuration
from ui.cli.main import main

SAMPLING = {"steps": 30, "guidance": 5.0}


def test_the_folder_the_sampling_and_the_metrics_that_fit_are_in_it(tmp_path: Path) -> None:
    path = write_configuration(tmp_path / "model", load_concept("nudity"), SAMPLING)
    assert path == tmp_path / "model-eval-unlearn.json"
    written = json.loads(path.read_text())
    assert written["technique"]["name"] == "free_run"
    assert written["technique"]["config"] == {
        "model_id": str((tmp_path / "model").resolve()),
        "num_inference_steps": 30,
        "guidance_scale": 5.0,
    }
    metrics = {metric["name"]: metric.get("config", {}) for metric in written["metrics"]}
    assert {"fid", "clip_score", "ua_ira", "asr_i2p", "err"} <= set(metrics)
    for part, word in (("target", "nud"), ("retain", "cloth")):
        with Path(metrics["ua_ira"][f"{part}_prompts_path"]).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == COUNT
        assert any(word in row["prompt"] for row in rows)


def test_what_is_of_nudity_alone_and_what_needs_an_anchor_is_left_out(tmp_path: Path) -> None:
    church = {metric["name"] for metric in configuration(tmp_path, load_concept("church"), {}, None)["metrics"]}
    assert church == {"fid", "clip_score", "tifa"}
    free = load_concept("a blue whale", "CompVis/stable-diffusion-v1-4")
    written = json.loads(write_configuration(tmp_path / "model", free, {}).read_text())
    assert "ua_ira" not in {metric["name"] for metric in written["metrics"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-eval-unlearn.json"]


def test_its_own_parser_accepts_it(tmp_path: Path) -> None:
    pytest.importorskip("eval_unlearn", reason="eval-unlearn is not installed: pip install eval-unlearn")
    written = json.loads(write_configuration(tmp_path / "model", load_concept("nudity"), SAMPLING).read_text())
    validation = import_module("eval_unlearn.runners.validation")
    technique = written["technique"]
    accepted = import_module("eval_unlearn.techniques.free_run.config").FreeRunConfig.from_dict(technique["config"])
    assert {name: getattr(accepted, name) for name in technique["config"]} == technique["config"]
    for metric in written["metrics"]:
        settings = metric.get("config", {})
        validation.validate_technique_metric_pair(technique["name"], technique["config"], metric["name"], settings)
        module = import_module(f"eval_unlearn.metrics.{metric['name']}.config")
        (kind,) = (item for name, item in vars(module).items() if name.endswith("Config") and name != "BaseConfig")
        accepted = kind.from_dict(settings)
        assert {name: getattr(accepted, name) for name in settings} == settings


def test_mistakes_are_one_line(tiny_pipeline: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["--for", "eval-unlearn"], "does not name one; give it with --concept"),
        (["--for", "eval-unlearn", "--format", "unet"], "measures a pipeline folder"),
        (["--concept", "star"], "--for is missing"),
    ):
        from ui.cli.export import export

        with pytest.raises(InputError, match=message):
            export([str(tiny_pipeline), "--output", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_export_writes_it_beside_the_folder(tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", str(tiny_pipeline), "--output", str(out), "--for", "eval-unlearn", "--concept", "church"]) == 0
    assert "eval-unlearn run --config" in capsys.readouterr().out
    assert json.loads((tmp_path / "out-eval-unlearn.json").read_text())["technique"]["config"]["model_id"] == str(out.resolve())
    assert (out / "model_index.json").is_file()
