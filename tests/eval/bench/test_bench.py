"""Methods side by side on a tiny random pipeline: pictures drawn once, stopped and gone on with, and every mistake named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tiny_clip import build as build_clip
from torch import Tensor

from erase.checkpoints.diff import changed_bytes
from erase.diffusion import StableDiffusion
from erase.errors import InputError
from erase.files import sha256
from erase.methods import METHODS
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.methods.spec import entries
from erase.pipeline import erase_concept, erasing
from erase.pipeline.job import EVALUATED, Event, Job
from erase.run import Run
from erase.task import Step, Task
from eval.bench.cells import Cell, one_line
from eval.bench.finished_runs import cells_of, label_of
from eval.bench.page import write
from eval.bench.plan import Bench, filled, shared_options
from eval.bench.results import lines_of_cells
from eval.bench.run import bench
from eval.bench.summary import protocol_of, ranked, report
from eval.bench.tables import sentences
from eval.options import RATES, Relearning
from eval.report import evaluate_run
from ui.cli.main import main

COUNTS = {"forget_count": 4, "retain_count": 6, "evaluate_count": 4, "sampling_steps": 2, "sampling_batch": 4, "device": "cpu"}
SMALL = "steps=4,batch=2,sensitivity_batches=2"
ROWS = (f"scissorhands:{SMALL},learning_rate=0.001", f"scissorhands:preset=paper,{SMALL}")
BROKEN = "broken:steps=1,batch=2,sensitivity_batches=1"
SETS = 4 + 4 + 6 + 10  # forget, anchor, retain, before
PAIRED = ("ua", "ua_implicit", "ira", "cra", "attributes_kept")
TIMES = ("seconds", "peak_bytes")


@dataclass(frozen=True)
class Broken(Scissorhands):
    """A stranger's method."""

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        raise ZeroDivisionError("its author\nforgot something")


@pytest.fixture(autouse=True)
def _tiny(tiny_pipeline: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny pipeline and a tiny CLIP in place of the embedded ones."""
    monkeypatch.setattr("erase.demo.pipeline_path", lambda model="demo": tiny_pipeline)
    monkeypatch.setattr("eval.measurement.tools.clip_path", lambda: clip)
    monkeypatch.setattr(erasing, "CHECKPOINT_EVERY", 2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is really drawn."""
    prompts: list[str] = []
    sampler = StableDiffusion.sampler

    def counted(model: StableDiffusion, *given: Any) -> Any:
        sample = sampler(model, *given)
        return lambda texts, generators: prompts.extend(texts) or sample(texts, generators)

    monkeypatch.setattr(StableDiffusion, "sampler", counted)
    return prompts


def plan(*rows: str, concepts: tuple[str, ...] = ("star",), seeds: tuple[int, ...] = (0,), **more: Any) -> Bench:
    return filled(Bench(Job(model="demo", **COUNTS), concepts, tuple(entries(rows or ROWS, METHODS)), seeds, **more))


def measure(folder: Path) -> None:
    if not (folder / "report.json").is_file():
        evaluate_run(folder)


def reported(cells: list[Cell]) -> dict[str, Any]:
    lines = lines_of_cells(cells)
    return report(lines, protocol_of(lines))


def by_label(found: dict[str, Any], part: str = "methods") -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in found[part]}


def timeless(found: Any) -> Any:
    """Without what a clock says."""
    if isinstance(found, dict):
        return {name: timeless(value) for name, value in found.items() if name not in TIMES}
    return [timeless(value) for value in found] if isinstance(found, list) else found


@pytest.fixture(scope="module")
def made(tiny_pipeline: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench of two rows with relearning, never interrupted. Read-only: copy it before changing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("erase.demo.pipeline_path", lambda model="demo": tiny_pipeline)
        patch.setattr("eval.measurement.tools.clip_path", lambda: clip)
        folder = tmp_path_factory.mktemp("bench") / "out"
        bench(plan(relearning=RELEARN), folder, measure)
    return folder


RELEARN = Relearning(relearn=6, relearn_count=3, relearn_rate=1e-3, relearn_batch=2)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def run_of(folder: Path, row: int = 0) -> Path:
    return next(path for path in (folder / "runs").iterdir() if ("paper" in path.name) == bool(row) and "retrain" not in path.name)


# --- what is drawn and kept -----------------------------------------------------------------------------------------


def test_each_picture_set_is_drawn_once_and_is_the_same_file_in_every_run(tmp_path: Path, drawn: list[str]) -> None:
    folder = tmp_path / "out"
    cells = bench(plan(), folder, measure)
    assert [cell.failure for cell in cells] == [None, None]
    assert len(drawn) == SETS + 2 * 10
    runs = [cell.folder for cell in cells]
    for part, count in (("images/forget", 4), ("images/retain", 6), ("samples/before", 10)):
        for i in range(count):
            first, second = (run / part / f"{i:05d}.png" for run in runs)
            assert first.stat().st_ino == second.stat().st_ino
            assert sha256(first) == sha256(second)
    after = [[sha256(run / "samples" / "after" / f"{i:05d}.png") for i in range(10)] for run in runs]
    assert after[0] != after[1]
    drawn.clear()
    again = bench(plan(), folder, measure)
    assert (drawn, again) == ([], cells)
    drawn.clear()
    more = bench(plan(*ROWS, f"scissorhands:{SMALL},forget_weight=0.5"), folder, measure)
    assert len(drawn) == 10  # only what the new row's model draws
    assert [cell.label for cell in more][:2] == list(ROWS)


def test_a_bench_that_was_stopped_goes_on_to_the_same_report(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    stops = iter([("before", 0), ("erase", 3), ("after", 4), ("relearn", 6)])
    for stage, done in stops:

        def show(event: Event, stage: str = stage, done: int = done) -> None:
            if (event.stage, event.done) == (stage, done) and not event.note:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            bench(plan(relearning=RELEARN), folder, measure, show)
    resumed, whole = bench(plan(relearning=RELEARN), folder, measure), bench(plan(relearning=RELEARN), made, measure)
    assert timeless(reported(resumed)) == timeless(reported(whole))
    pictures = {path.relative_to(made): sha256(path) for path in made.rglob("*.png")}
    assert len(pictures) > 100
    assert {path: sha256(folder / path) for path in pictures if "comparison" not in path.name} == {
        path: digest for path, digest in pictures.items() if "comparison" not in path.name
    }


def test_a_run_of_the_bench_is_the_run_that_the_main_job_makes(made: Path, tmp_path: Path) -> None:
    job = Job(("star",), "demo", output=str(tmp_path / "alone"), **COUNTS)
    alone = erase_concept(job, entries(ROWS[:1], METHODS)[0].values)
    run = run_of(made)
    for part in ("weights.safetensors", "latents.safetensors", "samples/after/00003.png", "images/anchor/00001.png"):
        assert sha256(alone / part) == sha256(run / part)
    assert Run.read(alone).options == Run.read(run).options


def test_seeds_draw_different_pictures(tmp_path: Path) -> None:
    cells = bench(plan(ROWS[0], seeds=(0, 1)), tmp_path / "out", measure)
    one, other = (sha256(cell.folder / "samples" / "before" / "00000.png") for cell in cells)
    assert one != other
    row = by_label(reported(cells))[ROWS[0]]
    assert (row["seeds"], row["runs"]) == (2, 2)


def test_a_bench_begun_with_an_earlier_versions_default_goes_on_with_it(tmp_path: Path) -> None:
    new = Bench(Job(model="demo", **{**COUNTS, "evaluate_count": None}), ("star",), tuple(entries(ROWS, METHODS)), (0,))
    old = replace(new, job=replace(new.job, evaluate_count=48))
    with Run.open(tmp_path / "out", shared_options(filled(old))):
        pass
    assert filled(new).job.evaluate_count == EVALUATED
    assert shared_options(filled(new, tmp_path / "out")) == shared_options(filled(old))


# --- the gold standard ----------------------------------------------------------------------------------------------


def test_a_method_that_is_the_retrained_model_has_no_distance_to_it(copy: Path, drawn: list[str]) -> None:
    gold = run_of(copy) / "model"
    cells = bench(plan(gold={"star": gold}, relearning=RELEARN), copy, measure)
    assert len(drawn) == 10 + 3 * 3  # after, and relearning at 0, 5 and 6 steps; all else was there
    rows = by_label(reported(cells))
    same, other = rows[ROWS[0]], rows[ROWS[1]]
    for name in ("average_gap", "frechet_gold", *(f"gap_{name}" for name in PAIRED), "gap_clip_score"):
        assert same[name] == {"mean": 0, "std": 0}, name
    assert other["average_gap"]["mean"] > 0
    assert other["frechet_gold"]["mean"] > 0
    assert rows["retrain"]["average_gap"]["mean"] == 0
    assert rows["original"]["frechet"]["mean"] == 0
    assert [row["label"] for row in ranked(rows.values())] == list(ROWS)
    assert rows["retrain"]["relearn"]["mean"][0] == same["relearn"]["mean"][0]


def test_the_retrained_model_learns_the_concept_from_the_same_pictures(copy: Path) -> None:
    """Relearning is a function of the model, the run's seed and its forget pictures alone."""
    gold = run_of(copy) / "model"
    cells = bench(plan(gold={"star": gold}, relearning=RELEARN), copy, measure)
    run, retrained = cells[0].folder, cells[2].folder
    for step in (0, 5, 6):
        pictures = [[sha256(folder / "relearn" / f"{step:05d}" / f"{i:05d}.png") for i in range(3)] for folder in (run, retrained)]
        assert pictures[0] == pictures[1]


def test_what_changed_is_counted_by_tensor(made: Path, tiny_pipeline: Path) -> None:
    options = [Run.read(run_of(made, row)).options["method_options"]["scope"] for row in (0, 1)]
    assert options == ["cross-attention", "full"]
    sizes = [changed_bytes(tiny_pipeline, run_of(made, row) / "model") for row in (0, 1)]
    layers = [json.loads((run_of(made, row) / "layers.json").read_text())["weights"] for row in (0, 1)]
    assert sizes[0] == 4 * sum(layer["numel"] for layer in layers[0] if layer["moved"])
    assert 0 < sizes[0] < sizes[1]
    assert changed_bytes(tiny_pipeline, tiny_pipeline) == 0


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_method_that_raises_has_a_line_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS.own, "broken", Broken)
    cells = bench(plan(BROKEN, *ROWS), tmp_path / "out", measure)
    assert [bool(cell.failure) for cell in cells] == [True, False, False]
    assert cells[0].failure == "ZeroDivisionError: its author forgot something"
    found = reported(cells)
    row = by_label(found)[BROKEN]
    assert (row["seeds"], row["runs"]) == (0, 0)
    assert row["failures"] == [{"concept": "star", "seed": 0, "failure": cells[0].failure}]
    assert "ua" not in row
    assert any(f"{BROKEN} failed in 1 run (star, seed 0: ZeroDivisionError" in said for said in sentences(found))
    write(tmp_path / "out", found, lines_of_cells(cells))
    assert "its author forgot something" in (tmp_path / "out" / "report.html").read_text()
    assert [row["label"] for row in ranked(found["methods"])][-1] == BROKEN


def test_where_all_rows_fail_there_is_still_a_table_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METHODS.own, "broken", Broken)
    assert main([*COMMAND, "--methods", BROKEN, "--output", str(tmp_path / "out")]) == 1
    assert f"{BROKEN} (failed)" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


COMMAND = ["bench", "--concepts", "star", "--forget-count", "4", "--retain-count", "6", "--evaluate-count", "4", "--sampling-steps", "2"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--methods", ROWS[0], ROWS[0]], "two rows are named scissorhands:steps=4"),
        (["--methods", "scissorhands", "all"], "two rows are named scissorhands"),
        (["--methods", "scissorhands:steps=4,batch=2", "scissorhands:batch=2,steps=4"], "are the same method and options"),
        (["--methods", "scissorhands:steps=4", "scissorhands:steps:4"], "not an option=value"),
        (["--methods", "scissor"], "--methods 'scissor' is unknown; expected one of scissorhands"),
        (["--methods", "influence"], "is a method for classifiers"),
        (["--methods", "scissorhands:fraction=2"], "--fraction is 2.0"),
        (["--concepts", "star", "star"], "two concepts are named star"),
        (["--concepts", ""], "--concepts is empty"),
        (["--concepts", "star", "nudity"], "name one model with --model"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--gold", "heart=nowhere"], "--gold heart=nowhere is of none of the concepts; expected one of star"),
        (["--gold", "heart"], "no CONCEPT=FOLDER"),
        (["--gold", "=a"], "no CONCEPT=FOLDER"),
        (["--gold", "heart=a", "heart=b"], "gives one concept two models"),
        (["--gold", "star=./nowhere"], "nowhere does not exist"),
        (["--relearn", "-1"], "--relearn is -1"),
        (["--evaluate-count", "0"], "--evaluate-count is 0"),
        (["--model", "./nowhere"], "expected a diffusers folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: list[str], more: list[str], words: str
) -> None:
    assert main([*COMMAND, "--output", str(tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert drawn == []


def test_a_folder_with_a_bench_of_other_options_is_refused(made: Path) -> None:
    other = plan()
    with pytest.raises(InputError, match=r"other options: guidance: 4.0 there, 2.0 now"):
        bench(replace(other, job=replace(other.job, guidance=2.0)), made, measure)


def test_what_went_wrong_is_one_line() -> None:
    assert one_line(InputError("give\nmore")) == "give more"
    assert one_line(KeyError()) == "KeyError: no message"
    assert len(one_line(ValueError("x" * 900))) == 300


# --- runs that are there already ------------------------------------------------------------------------------------


def test_runs_that_are_there_make_the_same_table(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, drawn: list[str]) -> None:
    cells = cells_of([run_of(made, row) for row in (0, 1)])
    assert [cell.label for cell in cells] == ["scissorhands:steps=4,batch=2,sensitivity_batches=2,learning_rate=0.001".replace(
        "steps=4,batch=2,sensitivity_batches=2,learning_rate=0.001", "sensitivity_batches=2,steps=4,batch=2,learning_rate=0.001"
    ), "scissorhands:preset=paper,sensitivity_batches=2,steps=4,batch=2"]  # fmt: skip
    whole = reported(bench(plan(), made, measure))
    for ours, theirs in zip(reported(cells)["methods"], whole["methods"], strict=True):
        assert timeless({**ours, "label": ""}) == timeless({**theirs, "label": ""})
    assert main(["bench", *(str(cell.folder) for cell in cells), "--output", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"protocol", "methods"}
    assert {row["method"] for row in found["methods"]} == {"original", "scissorhands"}
    assert set(found["methods"][1]["ua"]) == {"mean", "std"}
    assert drawn == []


def test_a_bench_of_runs_writes_no_report_over_that_of_a_run(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """But again into its own folder, and into one that was killed at its first file."""
    run = run_of(made, 0)
    before = (run / "report.json").read_bytes()
    assert main(["bench", str(run), "--output", str(run)]) == 2
    assert f"--output {run} is a run folder, not one for a bench of finished runs; give a new folder" in capsys.readouterr().err
    assert (run / "report.json").read_bytes() == before
    assert not (run / "report.md").exists()
    for _ in range(2):
        assert main(["bench", str(run), "--output", str(tmp_path / "out")]) == 0
        for path in tmp_path.glob("out/*"):
            if path.name != "report.md":
                path.unlink()


def test_runs_that_are_there_relearn_at_the_rate_of_their_model(copy: Path, tmp_path: Path) -> None:
    run = run_of(copy)
    assert main(["bench", str(run), "--relearn", "2", "--relearn-count", "2", "--output", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads((run / "relearn" / "relearn.json").read_text())["relearn_rate"] == RATES[True]


def test_runs_that_are_there_stand_beside_a_retrained_model_too(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, gold = [str(run_of(copy, row)) for row in (0, 1)], run_of(copy) / "model"
    assert main(["bench", *runs, "--gold", f"star={gold}", "--output", str(tmp_path / "out"), "--json"]) == 0
    found = by_label(json.loads(capsys.readouterr().out))
    same, other = (row for label, row in found.items() if label.startswith("scissorhands"))
    assert found["retrain"]["runs"] == 1
    assert same["average_gap"] == {"mean": 0, "std": 0}
    assert other["average_gap"]["mean"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b: [a, b, "--gold", "heart=./gold"], "--gold heart=gold names a concept that no run erased; expected one of star"),
        (lambda a, b: [a, b, "--gold", "star=./gold"], "gold does not exist"),
        (lambda a, b: [a, a], "two rows are named scissorhands:"),
        (lambda a, b: [a, b, "--seeds", "2"], "--seeds is for a bench that makes its runs"),
        (lambda a, b: [a, b, "--guidance", "3"], "--guidance is for a bench that makes its runs"),
        (lambda a, b: [a, _without(b, "stages.json")], "stage 'images' is not done"),
        (lambda a, b: [a, _without(b, "options.json")], "is not a run folder"),
        (lambda a, b: [a, _other_prompts(b)], "were measured on different prompts"),
    ],
)
def test_runs_that_do_not_belong_in_one_table_are_refused(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str, str], list[str]], words: str
) -> None:
    given = change(*(str(run_of(copy, row)) for row in (0, 1)))
    assert main(["bench", *given, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def _without(run: str, name: str) -> str:
    Path(run, name).unlink()
    return run


def _other_prompts(run: str) -> str:
    path = Path(run, "samples", "prompts.jsonl")
    path.write_text(path.read_text().replace("drawing", "painting", 1))
    return run


def test_labels_say_what_differs_from_the_preset(made: Path) -> None:
    options = Run.read(run_of(made)).options
    plain = {**options, "method_options": vars(Scissorhands())}
    assert label_of(plain) == "scissorhands"
    assert label_of({**plain, "method_options": vars(Scissorhands(projected=False))}) == "scissorhands:projected=false"
    assert label_of({**plain, "preset": "paper", "method_options": vars(Scissorhands(**Scissorhands.presets["paper"]))}) == (
        "scissorhands:preset=paper"
    )


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_table_page_charts_and_sheets(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of(copy)
    flags = [word for name, value in COUNTS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["bench", "--model", "demo", "--concepts", "star", "--methods", *ROWS, *flags, "--output", str(copy)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].startswith("original")
    files = {path.name for path in copy.iterdir() if path.is_file()}
    assert files >= {"report.json", "report.md", "report.html", "sheet-star.png", "confusion-star-0.svg"}
    found = json.loads((copy / "report.json").read_text())
    protocol = found["protocol"]
    assert protocol["command"].startswith("erase-concept bench --model demo --concepts star --methods scissorhands:steps=4")
    assert protocol["rows"][ROWS[1]]["options"]["scope"] == "full"
    assert protocol["pictures"] == {"evaluate": 4, "implicit": 2, "evaluate-retain": 4}
    assert protocol["detector"]["name"] == "judge"
    assert {"sampler", "steps", "guidance", "size", "versions", "prompts", "seeds", "model"} <= set(protocol)
    assert all(row[name] == {"mean": row[name]["mean"], "std": 0} for row in found["methods"] for name in ("ua", "ira"))
    page = (copy / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert ROWS[1] in (copy / "report.md").read_text()
