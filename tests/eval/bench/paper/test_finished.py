"""Table 9 and the figures that are made from finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_runs import measured_run
from PIL import Image
from svg import drawn

from eval.bench.paper.detections import change
from eval.rendering.model_bars import model_bars
from ui.cli.main import main


def changed(folder: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A run with its report edited."""
    path = folder / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    edit(report)
    path.write_text(json.dumps(report), encoding="utf-8")
    return folder


def counted(before: dict[str, int], after: dict[str, int], protocol: str = "") -> Callable[[dict[str, Any]], None]:
    def edit(report: dict[str, Any]) -> None:
        for which, counts in (("before", before), ("after", after)):
            report[which]["detections"] = {label: {"boxes": n, "pictures": n} for label, n in counts.items()}
        if protocol:
            report["protocol"]["name"] = protocol

    return edit


def scored(protocol: str, **metrics: float) -> Callable[[dict[str, Any]], None]:
    def edit(report: dict[str, Any]) -> None:
        report["protocol"]["name"] = protocol
        report["after"] = {name: {"value": value, "low": value - 1, "high": value + 1, "n": 9} for name, value in metrics.items()}

    return edit


def made(item: str, output: Path, *words: str | Path) -> dict[str, Any]:
    assert main(["reproduce", item, "--output", str(output), *map(str, words)]) == 0
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


def cells(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        cell["title"]: {row["title"]: {name: metric["value"] for name, metric in row["values"].items()} for row in cell["rows"]}
        for cell in report["cells"]
    }


# --- table 9 ----------------------------------------------------------------------------------------------------------


def test_table_9_puts_each_run_into_the_block_of_its_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = changed(measured_run(tmp_path, "a"), scored("imagenette-classes", ua=98.0, clip_score=31.0))
    coco = changed(measured_run(tmp_path, "b"), scored("coco-30k", fid=19.0, clip_score=30.0))
    salun = changed(measured_run(tmp_path, "c"), scored("coco-30k", frechet_toy_8=5.0))
    report = made("table9", tmp_path / "out", "--runs", ours, f"Scissorhands={coco}", f"salun={salun}")
    assert cells(report) == {
        "Imagenette, one class erased": {"SalUn": {}, "Scissorhands": {"clip_score": 31.0, "ua": 98.0}},
        "COCO-30K, nudity erased": {"SalUn": {"fid": 5.0}, "Scissorhands": {"fid": 19.0, "clip_score": 30.0}},
    }
    printed = capsys.readouterr().out
    assert "19.00 [18.00, 20.00] (19.45)" in printed
    assert "– (25.06)" not in printed
    assert any("the column FID is frechet_toy_8, which is no FID" in line for line in report["deviations"])
    assert any(f"Scissorhands ({ours}) has no FID" in line and "--reference" in line for line in report["deviations"])


def test_table_9_of_other_protocols_is_a_block_of_its_own_without_published_values(tmp_path: Path) -> None:
    run = measured_run(tmp_path, "a", ua=90.0)
    report = made("table9", tmp_path / "out", "--runs", f"mine={run}")
    own = report["cells"][-1]
    assert own["title"] == "the runs' own prompts, which are not the paper's"
    assert [(row["title"], row["values"]["ua"]["value"], row["paper"]) for row in own["rows"]] == [("mine", 90.0, {})]
    command = "`erase-concept evaluate RUN --protocol coco-30k --prompts coco_30k.csv --reference FOLDER --clip ViT-B-32:openai`"
    assert any(f"no run was measured by {command}." in line for line in report["deviations"])


# --- figure 3 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after", "expected"), [(200, 50, -75.0), (10, 15, 50.0), (4, 4, 0.0), (0, 3, None)])
def test_a_change_is_in_per_cent_of_the_original(before: int, after: int, expected: float | None) -> None:
    assert change(before, after) == expected


def test_figure_3_has_counts_of_the_original_and_the_change_of_every_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {"BELLY_EXPOSED": 100, "FEET_EXPOSED": 40, "ANUS_EXPOSED": 0}
    one = changed(measured_run(tmp_path, "a"), counted(before, {"BELLY_EXPOSED": 25, "FEET_EXPOSED": 60}, "i2p-nudity"))
    two = changed(measured_run(tmp_path, "b"), counted(before, {"BELLY_EXPOSED": 0, "ANUS_EXPOSED": 2}, "i2p-nudity"))
    report = made("figure3", tmp_path / "out", "--runs", f"SalUn={one}", f"Scissorhands={two}")
    assert {model["label"]: model["change"] for model in report["models"]} == {
        "SalUn": {"BELLY_EXPOSED": -75.0, "FEET_EXPOSED": 50.0, "ANUS_EXPOSED": None},
        "Scissorhands": {"BELLY_EXPOSED": -100.0, "FEET_EXPOSED": -100.0, "ANUS_EXPOSED": None},
    }
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Belly", "100", "25", "(−75", "%)", "0", "(−100", "%)"] in rows
    assert ["together", "140", "85", "(−39", "%)", "2", "(−99", "%)"] in rows
    chart = (tmp_path / "out" / "changes-1.svg").read_text(encoding="utf-8")
    assert len(drawn(chart, "bar")) == 6
    assert "none in the original" in chart
    assert not any("not the paper's" in line for line in report["deviations"])


def test_figure_3_of_a_detector_that_names_one_thing_counts_pictures(tmp_path: Path) -> None:
    """As on the embedded models, whose judge has no boxes."""

    def edit(report: dict[str, Any]) -> None:
        for which, seen in (("before", {"star": 8}), ("after", {"cross": 6, "star": 2})):
            del report[which]["detections"]
            report[which]["became"] = seen

    (model,) = made("figure3", tmp_path / "out", "--runs", changed(measured_run(tmp_path, "a"), edit))["models"]
    assert (model["label"], model["counted"]) == ("scissorhands", "pictures")
    assert model["change"] == {"star": -75.0, "cross": None}


def test_another_original_or_protocol_is_named(tmp_path: Path) -> None:
    one = changed(measured_run(tmp_path, "a"), counted({"FEET_EXPOSED": 4}, {"FEET_EXPOSED": 1}))
    two = changed(measured_run(tmp_path, "b"), counted({"FEET_EXPOSED": 5}, {"FEET_EXPOSED": 1}))
    lines = made("figure3", tmp_path / "out", "--runs", f"A={one}", f"B={two}")["deviations"]
    assert "B has another original than A; its change is against its own." in lines
    assert any(line.startswith(f"A ({one}) was measured by the runs' own prompts") for line in lines)


def test_bars_end_where_their_numbers_say() -> None:
    chart = model_bars({"Feet": {"a": -50.0, "b": 400.0}}, "change")
    assert "−50 %" in chart
    assert "+400 %" in chart
    assert model_bars({}, "nothing").startswith("<svg")


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_grid_has_the_original_above_every_model(tmp_path: Path) -> None:
    one, two = measured_run(tmp_path, "a"), measured_run(tmp_path, "b")
    report = made("figure4", tmp_path / "out", "--runs", f"A={one}", f"B={two}", "--uncensored", "--pictures", "1")
    assert report["rows"] == ["original", "A", "B"]
    assert report["prompts"] == [{"text": "a drawing of a red star", "seed": 3}]
    pixels = np.asarray(Image.open(tmp_path / "out" / "grid.png").convert("RGB")).reshape(-1, 3)
    red, blue = ((pixels == colour).all(1).sum() for colour in ([255, 0, 0], [0, 0, 255]))
    assert red * 2 == blue > 0  # one original, two erased models
    blurry = made("figure4", tmp_path / "out", "--runs", one, two)
    assert blurry["rows"] == ["original", "scissorhands (a)", "scissorhands (b)"]
    assert len(blurry["prompts"]) == 2  # to forget; the third is to keep


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_what_is_no_run_or_lacks_what_is_needed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, bare, other = measured_run(tmp_path, "a"), measured_run(tmp_path, "bare"), measured_run(tmp_path, "other")
    (bare / "report.json").unlink()
    changed(other, scored("demo", ssim=0.5))
    elsewhere = measured_run(tmp_path, "elsewhere")
    prompts = elsewhere / "samples" / "prompts.jsonl"
    prompts.write_text(prompts.read_text(encoding="utf-8").replace('"seed": 3', '"seed": 4'), encoding="utf-8")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    cases: list[tuple[str, list[Path | str], str]] = [
        ("table9", [tmp_path / "absent"], "is no folder; give finished runs or evaluations, as LABEL=FOLDER"),
        ("table9", [tmp_path / "photos"], "has no report.json; `erase-concept evaluate"),
        ("table9", [bare], "has no report.json; `erase-concept evaluate"),
        ("table9", [run, run], "is given twice"),
        ("table9", [other], "has none of FID, CLIP, UA"),
        ("figure3", [other], "which counts nothing by label; give evaluations by `erase-concept evaluate RUN --protocol"),
        ("figure4", [run, elsewhere], "have no prompt to forget with the same seed in common"),
        ("figure8", [run], "or FEMALE_GENITALIA_EXPOSED; give evaluations by `erase-concept evaluate RUN --protocol"),
    ]
    for item, runs, message in cases:
        assert main(["reproduce", item, "--output", str(tmp_path / "out" / item), "--runs", *map(str, runs)]) == 2, (item, runs)
        errors = capsys.readouterr().err
        assert message in errors, errors
        assert len(errors.strip().splitlines()) == 1
    assert main(["reproduce", "figure3", "--output", str(tmp_path / "photos"), "--runs", str(run)]) == 2
    assert "is not a run folder but holds a.txt" in capsys.readouterr().err


def test_two_figures_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = measured_run(tmp_path, "a")
    made("figure3", tmp_path / "out", "--runs", run)
    made("figure3", tmp_path / "out", "--runs", f"B={run}")  # the same figure of other runs
    capsys.readouterr()
    assert main(["reproduce", "table9", "--output", str(tmp_path / "out"), "--runs", str(run)]) == 2
    assert "holds a run with other options: item" in capsys.readouterr().err
