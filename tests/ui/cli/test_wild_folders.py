"""One check of a model for every command: the same line, status 2, and nothing drawn or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wild_folders import UNET, Change, copied, settings, weights

from ui.cli.main import main

COUNTS = {"forget-count": 2, "retain-count": 2, "evaluate-count": 1, "sampling-steps": 1, "steps": 1, "batch": 2, "sensitivity-batches": 1}
SMALL = ["--anchor", "circle", "--size", "64", "--device", "cpu", *(word for name, n in COUNTS.items() for word in (f"--{name}", str(n)))]
FAULTS: dict[str, tuple[Change, str]] = {
    "missing": (weights(UNET, lambda state: {n: v for n, v in state.items() if n != "conv_out.bias"}), "its unet lacks conv_out.bias"),
    "predicts": (settings("scheduler/scheduler_config.json", prediction_type="sample"), "its scheduler predicts 'sample'; supported are"),
    "nan": (
        weights(UNET, lambda state: state | {"conv_out.bias": state["conv_out.bias"] / 0}),
        "in conv_out.bias; download the model again",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_command_refuses_what_could_not_be_used(
    fault: str, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = FAULTS[fault]
    model, good = str(copied(tiny_pipeline, tmp_path / "model", change)), str(tiny_pipeline)
    monkeypatch.chdir(tmp_path)
    commands = {
        "job": ["--concept", "star", "--model", model, "--output", "run", *SMALL],
        "estimate": ["estimate", "--concept", "star", "--model", model, *SMALL],
        "export": ["export", model, "--output", "copy"],
        "single file": ["export", model, "--format", "single-file", "--output", "x.safetensors"],
        "generate": ["generate", model, "--prompt", "a star", "--count", "1", "--steps", "1", "--device", "cpu", "--output", "drawn"],
        "original": ["evaluate", good, "--original", model, "--concept", "star", "--count", "1", "--device", "cpu", "--output", "numbers"],
        "erased": ["evaluate", model, "--original", good, "--concept", "star", "--count", "1", "--device", "cpu", "--output", "numbers"],
    }
    for command, arguments in commands.items():
        assert main(arguments) == 2, command
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("erase-concept: ")]
        assert len(lines) == 1, command
        assert message in lines[0], command
    assert not [*tmp_path.rglob("*.png"), *tmp_path.glob("*.safetensors"), *tmp_path.glob("copy/*")]


def test_the_page_draws_no_such_model(tiny_pipeline: Path, tmp_path: Path) -> None:
    from ui.web.drawing.models import Studio

    model = str(copied(tiny_pipeline, tmp_path / "model", FAULTS["missing"][0]))
    order = {
        "models": [("a model", model)],
        "concept": None,
        "prompt": "a star",
        "seed": 0,
        "count": 1,
        "steps": 1,
        "guidance": 1.0,
        "number": 1,
    }
    with pytest.raises(Exception, match=r"its unet lacks conv_out\.bias"):
        Studio("cpu", 10**9, lambda *_, **__: None).draw(order)


@pytest.mark.parametrize("value", [[8, 10], None])
def test_a_model_without_a_square_size_works_with_one(
    value: object, tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copied(tiny_pipeline, tmp_path / "model", settings("unet/config.json", sample_size=value))
    arguments = ["--concept", "star", "--model", str(model), "--output", str(tmp_path / "run"), *SMALL]
    bare = [word for word in arguments if word not in ("--size", "64")]
    assert main(bare) == 2
    assert "give --size" in capsys.readouterr().err
    assert main(["estimate", *[word for word in bare if word not in ("--output", str(tmp_path / "run"))]]) == 2
    assert "give --size" in capsys.readouterr().err
    assert main(arguments) == 0
    assert json.loads((tmp_path / "run/options.json").read_text())["sampling"]["size"] == 64
    assert json.loads((tmp_path / "run/model/unet/config.json").read_text())["sample_size"] == value


def test_an_option_that_contradicts_a_run_is_refused(tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.json").write_text("{}")
    (tmp_path / "model").symlink_to(tiny_pipeline)
    assert main(["export", str(tmp_path), "--prediction-type", "epsilon", "--output", str(tmp_path / "copy")]) == 2
    assert "--prediction-type epsilon contradicts" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
