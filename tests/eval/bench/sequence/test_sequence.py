"""Concepts erased one after another: each step from the last model, all measured alike, resumed, and what is wrong in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from erase.diffusion import StableDiffusion
from erase.files import sha256
from erase.run import Run
from eval.bench.sequence.page import cells_of, charts_of, sentences, table
from eval.bench.sequence.results import rows_of
from ui.cli.main import main

COUNTS = ["--forget-count", "2", "--retain-count", "3", "--evaluate-count", "3", "--sampling-steps", "1", "--sampling-batch", "8"]
ROW = "scissorhands:steps=1,batch=2,sensitivity_batches=1"


def call(folder: Path, *more: str) -> list[str]:
    return ["bench", "--sequence", "star", "red", "--methods", ROW, *COUNTS, "--device", "cpu", "--output", str(folder), *more]


@pytest.fixture(autouse=True)
def _tiny(tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny pipeline in place of the embedded one, and no CLIP."""
    small(tiny_pipeline, monkeypatch)


def small(pipeline: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("erase.demo.pipeline_path", lambda model="demo": pipeline)
    patch.setattr("eval.measurement.tools.clip_path", lambda: pipeline / "none")
    patch.setattr("eval.bench.sequence.run.OWN_COUNT", 1)


@pytest.fixture(scope="module")
def made(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on the tiny pipeline. Read-only."""
    folder = tmp_path_factory.mktemp("sequence") / "out"
    with pytest.MonkeyPatch.context() as patch:
        small(tiny_pipeline, patch)
        assert main(call(folder)) == 0
    return folder


def steps(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "report.json").read_text())["steps"])


def test_each_step_starts_from_the_last_model_and_keeps_what_was_erased_gone(made: Path) -> None:
    first, second = (Run.read(Path(step["run"])).options for step in steps(made))
    assert first["model"] == "demo"
    assert second["model"] == str(Path(steps(made)[0]["run"]) / "model")
    assert second["earlier"] == ["star"]


def test_all_steps_are_measured_by_the_same_prompts_and_the_same_images_of_the_original(made: Path) -> None:
    places = [Path(step["measured"]) for step in steps(made)]
    assert len({sha256(place / "samples" / "prompts.jsonl") for place in places}) == 1
    images = [[sha256(path) for path in sorted((place / "samples" / "before").glob("*.png"))] for place in places]
    assert images[0] == images[1]
    assert len(images[0]) > 6
    for step in steps(made):
        assert set(step["ua"]) == {"star", "red"}  # also of what is still to be erased
        assert step["ua"]["red"]["n"] == 3


def test_the_table_says_what_was_erased_so_far(made: Path) -> None:
    report = json.loads((made / "report.json").read_text())
    head, first, second = cells_of(report)
    assert head[:4] == ["method", "step", "star gone", "red gone"]
    assert (first[1], second[1]) == ("1: star", "2: red")
    assert [row[3].startswith("(") for row in (first, second)] == [True, False]
    assert "in parentheses: not erased yet" in table(report)
    assert len(charts_of(report)) == 2
    page = (made / "report.html").read_text()
    for words in ("Erasing star, red one after another from demo", "after red", "bench --sequence star red"):
        assert words in page


def test_it_goes_on_where_it_stopped(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "out"))
    shutil.rmtree(next((folder / "measured").glob("0-*")) / "2-red")
    shutil.rmtree(next((folder / "runs").iterdir()) / "2-red" / "samples" / "after")
    drawn: list[str] = []
    sampler = StableDiffusion.sampler

    def counted(model: StableDiffusion, *given: Any) -> Any:
        sample = sampler(model, *given)
        return lambda texts, generators: drawn.extend(texts) or sample(texts, generators)

    monkeypatch.setattr(StableDiffusion, "sampler", counted)
    assert main(call(folder)) == 0
    again, whole = steps(folder)[1], steps(made)[1]
    assert again["ua"] == whole["ua"]
    assert 0 < len(drawn) <= 2 * len(list((Path(again["measured"]) / "samples" / "after").glob("*.png")))


def test_a_step_that_fails_ends_its_row_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(*given: Any) -> None:
        raise ZeroDivisionError("its author\nforgot something")

    monkeypatch.setattr("eval.bench.sequence.run.erase_concept", broken)
    assert main(call(tmp_path / "out", "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(one["step"], one["failure"]) for one in report["steps"]] == [(1, "ZeroDivisionError: its author forgot something")]
    assert sentences(report) == [f"{ROW} failed, seed 0: ZeroDivisionError: its author forgot something."]


def test_what_came_back_since_its_own_step_is_counted() -> None:
    """Star falls from 100 to 75 while red is erased; two seeds of 60 and 80 are 70 with their deviation."""
    from eval.bench.sequence.results import _with_losses

    def record(step: int, erased: str, so_far: list[str], star: float, red: float, seed: int = 0) -> dict[str, Any]:
        ua = {name: {"value": value, "low": 0, "high": 100} for name, value in (("star", star), ("red", red))}
        facts = {"label": "a", "seed": seed, "step": step, "erased": [erased], "gone_so_far": so_far, "ua": ua, "keeping": {}}
        return {**facts, "kept": 90.0, "frechet": None, "seconds": 1.0, "changed_bytes": 1}

    found = _with_losses([record(1, "star", ["star"], 100, 5), record(2, "red", ["star", "red"], 75, 90)])
    assert [(one["lowest"], one["lost"]) for one in found] == [(100, 0), (75, 25)]
    both = _with_losses([record(1, "star", ["star"], 60, 0), record(1, "star", ["star"], 80, 0, seed=1)])
    (row,) = rows_of(both)
    assert row["ua"]["star"] == {"mean": 70, "std": pytest.approx(14.1421)}
    assert row["frechet"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "star", "red", "star"], "the sequence has star twice; give each concept once, in the order of erasing"),
        (["--sequence", "star"], "a sequence of 1 concept is none; expected two or more"),
        (["--sequence", "star", "red", "--concepts", "ring"], "--concepts is of a bench of single concepts"),
        (["--sequence", "star", "red", "--gold", "star=x"], "--gold is of a bench of single concepts"),
        (["--together", "--concepts", "star"], "--together is of --sequence, which is missing"),
        (["runs/a", "--sequence", "star", "red"], "--sequence makes its runs, and run folders were given"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_made(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_together_is_one_run_of_all(tiny_pipeline: Path, tmp_path: Path) -> None:
    assert main(call(tmp_path / "out", "--together")) == 0
    (step,) = steps(tmp_path / "out")
    assert step["erased"] == step["gone_so_far"] == ["star", "red"]
    options = Run.read(Path(step["run"])).options
    assert [concept["name"] for concept in options["concepts"]] == ["star", "red"]
    assert options["earlier"] == []
