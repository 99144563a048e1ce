"""`erase-concept reproduce`: a table of the paper from data to page, at a scale of seconds; and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from svg import drawn

from eval.classifiers.run import results
from ui.cli.main import main

TINY = ("--scale", "0.003", "--seeds", "1")


@pytest.fixture(scope="module")
def table8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of four networks, with relearning."""
    folder = tmp_path_factory.mktemp("table8") / "run"
    assert main(["reproduce", "table8", *TINY, "--output", str(folder)]) == 0
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_a_table_has_the_papers_rows_and_columns_with_our_values(table8: Path) -> None:
    report = report_of(table8)
    assert [cell["title"] for cell in report["cells"]] == ["CIFAR-10, 10 %", "CIFAR-100, 10 %"]
    cell = report["cells"][0]
    assert list(cell["columns"]) == ["relearn_epochs", "peak_bytes", "run_time"]
    assert [row["title"] for row in cell["rows"]] == ["SalUn", "Scissorhands"]
    assert [row["paper"] for row in cell["rows"]] == [
        {"relearn_epochs": 24.25, "peak_bytes": 1968.4, "run_time": 0.075},
        {"relearn_epochs": ">200", "peak_bytes": 2002.7, "run_time": 0.182},
    ]  # fmt: skip
    lines = {line["label"]: line for line in results(table8 / cell["folder"])}
    for row in cell["rows"]:
        line = lines[row["label"]]
        assert row["values"]["peak_bytes"]["mean"] == pytest.approx(line["peak_bytes"] / 2**20)
        assert row["values"]["run_time"]["mean"] == pytest.approx(line["work"] / lines["retrain"]["work"], rel=1e-3)
    assert any(line.startswith("A rehearsal at scale 0.003: 135 samples") for line in report["deviations"])
    assert "1 seed instead of 4." in report["deviations"]
    lines = "\n".join(report["deviations"])
    for text in (
        "Scissorhands: the script scores in training mode",
        "SalUn: forget and retain samples of one step",
        "here the paper's 182, 160 and 50",
    ):
        assert text in lines
    assert "BE:" not in lines


def test_the_page_and_the_print_have_ours_and_the_papers(table8: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "T8", *TINY, "--output", str(table8)]) == 0
    printed = capsys.readouterr().out
    page = (table8 / "report.html").read_text(encoding="utf-8")
    for text in ("relearn time, epochs", "(0.182)", "(24.25)", "(–)", "CIFAR-100, 10 %", "names no data set"):
        assert text in printed
        assert text in page
    assert "<script" not in page
    assert (table8 / "cifar10-random-10" / "report.html").is_file()


def test_a_finished_table_is_read_and_not_run_again(table8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in table8.rglob("results.jsonl")}
    first = report_of(table8)

    def never(*arguments: object) -> None:
        raise AssertionError("a finished cell was run")

    monkeypatch.setattr("eval.bench.paper.cells.unlearn_all", never)
    assert main(["reproduce", "table8", *TINY, "--output", str(table8)]) == 0
    assert {path: path.read_bytes() for path in table8.rglob("results.jsonl")} == before
    assert report_of(table8)["cells"] == first["cells"]


def test_a_cell_that_was_stopped_is_completed(table8: Path, tmp_path: Path) -> None:
    """Lines of the second cell lost with a kill come again; the first cell keeps its own."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(table8, folder)
    path = folder / "cifar100-random-10" / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    assert main(["reproduce", "table8", *TINY, "--output", str(folder)]) == 0
    again, before = results(path.parent), results(table8 / "cifar100-random-10")
    assert [line["label"] for line in again] == [line["label"] for line in before]
    timed = ("seconds", "work", "peak_bytes")
    assert [{k: v for k, v in line.items() if k not in timed} for line in again] == [
        {k: v for k, v in line.items() if k not in timed} for line in before
    ]


def test_the_list_names_what_each_shows_needs_and_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows][:2] == ["table1", "table2"]
    assert rows[0]["takes"] == "3 data sets x 5 seeds x 10 networks, of which 2 are trained from scratch"


def test_an_estimate_counts_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eval.bench.paper.estimate.seconds_an_image", lambda cell: 0.001)
    assert main(["reproduce", "table3", "--estimate", "--seeds", "2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    images = 182 * (45000 + 40500) + 5 * 10 * 45000  # original and retraining; five rows of ten epochs over both sets
    assert row["networks"] == 14
    assert row["images trained"] == 2 * images
    assert row["images measured"] == 2 * 7 * 55000
    assert row["hours"] == pytest.approx(2 * 0.001 * (images + 7 * 55000 / 3) / 3600, abs=1e-3)
    assert main(["reproduce", "table9", "--estimate", "--json"]) == 0
    assert [row["pictures of each model"] for row in json.loads(capsys.readouterr().out)] == [1000, 30000]
    assert list(tmp_path.iterdir()) == []


def people(folder: Path, count: int) -> Path:
    for number in range(count):
        (folder / f"person-{number}").mkdir(parents=True)
    return folder


def test_mistakes_are_one_line(table8: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "holidays").mkdir()
    (tmp_path / "holidays" / "beach.jpg").write_text("")
    inner = tmp_path / "cifar-100-python"
    inner.mkdir()
    (inner / "train").write_text("")
    twelve = people(tmp_path / "people", 12)
    cases = {
        ("table10",): "the paper has no 'table10', did you mean \"table1\"?",
        ("table1", "--data", str(tmp_path / "holidays")): "has beach.jpg, and table1 needs CIFAR-100, CIFAR-10 and SVHN in one folder",
        ("table3", "--data", str(tmp_path / "holidays")): "give the folder that has cifar-10-batches-py or cifar-10-python.tar.gz",
        ("table1", "--data", str(inner)): f"give the folder above it: --data {tmp_path}",
        ("table1", "--data", str(tmp_path / "holidays" / "beach.jpg")): "is a file and no folder; table1 needs CIFAR-100",
        ("table2",): "--data is missing; table2 needs CelebAMask-HQ",
        ("table2", "--data", str(tmp_path / "absent")): "is no folder; table2 needs CelebAMask-HQ",
        ("table5", "--data", str(twelve)): "has 12 folders of people, and table5 needs 307",
        ("table1", "--runs", "runs/a"): "table1 is not made from --runs, but from data",
        ("figure3",): "figure3 is made from finished runs; --runs is missing",
        ("table1", "--scale", "2"): "--scale is 2.0; expected at most 1",
        ("table8", "--scale", "0.004", "--output", str(table8)): "holds a run with other options: scale: 0.003 there, 0.004 now",
        ("table3", *TINY, "--output", str(table8)): "holds a run with other options: item",
    }
    for words, message in cases.items():
        output = () if "--output" in words else ("--output", str(tmp_path / "out"))
        assert main(["reproduce", *words, *output]) == 2, words
        errors = capsys.readouterr().err
        assert message in errors, errors
        assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figure_2_has_three_panels_with_the_level_of_retraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two points a panel, for economy: the values of the file are held by tests/eval/bench/paper/test_items.py."""
    from dataclasses import replace

    from eval.bench.paper.items import load_item

    item = load_item("figure2")
    short = replace(item, panels=tuple(replace(panel, values=(panel.values[1], panel.values[-1])) for panel in item.panels))
    monkeypatch.setattr("eval.bench.paper.items.load_item", lambda name: short)
    out = tmp_path / "out"
    assert main(["reproduce", "figure2", *TINY, "--output", str(out)]) == 0
    (cell,) = report_of(out)["cells"]
    lines = {line["label"]: line for line in results(out / "cifar10-random-10")}
    assert [panel["option"] for panel in cell["panels"]] == ["fraction", "forget_weight", "sensitivity_batches"]
    for metric in ("forget_accuracy", "test_accuracy", "retain_accuracy", "mia"):
        assert cell["retrain"][metric]["mean"] == pytest.approx(lines["retrain"][metric], abs=1e-3)
        point = cell["panels"][0]["points"][0]
        assert point["x"] == 0.01
        assert point[metric]["mean"] == pytest.approx(lines["scissorhands:fraction=0.01"][metric], abs=1e-3)
    for name in ("fraction", "forget-weight", "sensitivity-batches"):
        chart = (out / f"{name}.svg").read_text(encoding="utf-8")
        assert len(drawn(chart, "level")) == 4
        assert len(drawn(chart, "series")) == 4
    assert "Thin lines in the charts: the level of retraining." in (out / "report.html").read_text(encoding="utf-8")


def test_figure_1_is_a_sheet_of_the_papers_rows(tmp_path: Path) -> None:
    from PIL import Image

    from eval.classifiers.gradcam import GAP, HEAD, SIDE

    assert main(["reproduce", "figure1", *TINY, "--output", str(tmp_path / "out")]) == 0
    (cell,) = report_of(tmp_path / "out")["cells"]
    assert cell["rows"] == ["Retrain", "SalUn", "Scissorhands"]
    with Image.open(tmp_path / "out" / "gradcam.png") as sheet:
        assert sheet.height == HEAD + (1 + 3) * (SIDE + GAP)  # the samples, and a row for each network


def test_classify_draws_the_gradcam_rows_that_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from eval.classifiers.gradcam import GAP, HEAD, SIDE

    words = ["classify", "--train-samples", "60", "--epochs", "1", "--seeds", "1", "--methods", "fine_tune:epochs=1", "--output"]
    out = str(tmp_path / "run")
    assert main([*words, out, "--gradcam-rows", "retrain", "fine_tune"]) == 2
    assert (
        "--gradcam-rows fine_tune is not a row of this table; expected some of original, retrain, fine_tune:epochs=1"
        in capsys.readouterr().err
    )
    for rows in (["retrain"], ["fine_tune:epochs=1", "original"]):  # the second time nothing is trained
        assert main([*words, out, "--gradcam-rows", *rows]) == 0
        with Image.open(tmp_path / "run" / "gradcam.png") as sheet:
            assert sheet.height == HEAD + (1 + len(rows)) * (SIDE + GAP)
