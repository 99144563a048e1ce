"""A sweep tries what the space says and no setting twice, survives a stop and a failure, and scores by what it states."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from svg import points

from erase.errors import InputError
from erase.pipeline.erasing import CHECKPOINT_EVERY
from erase.pipeline.job import Job
from erase.run import Run
from eval.bench.sweep import Sweep, flags, space_of, sweep
from eval.bench.sweep_results import scatter_svg, table, trials, worth
from ui.cli.main import main

SPACE = {"fraction": ("0.001", "0.005", "0.01"), "forget_weight": ("0.5", "1")}
SMALL = {"forget_count": 4, "retain_count": 6, "evaluate_count": 4, "sampling_steps": 1, "sampling_batch": 6}


def plan(model: str = "demo", **more: Any) -> Sweep:
    values = {"concepts": ("star", "red"), "space": SPACE, **more}
    return Sweep(Job(model=model, **SMALL), **values)  # type: ignore[arg-type]


def report(ua: float, kept: float, before: float = 100.0, seconds: float = 1.0, **more: float) -> dict[str, Any]:
    first = {"ua": 0.0, "ira": before, "cra": before}
    after = {"ua": ua, "ira": kept, "cra": before, **more}
    return {
        "seconds": {"erase": seconds},
        **{w: {n: {"value": v} for n, v in part.items()} for w, part in (("before", first), ("after", after))},
    }


# --- the space ------------------------------------------------------------------------------------------------------


def test_the_grid_is_every_setting_once_the_last_option_first() -> None:
    labels = [row.label for row in plan().settings()]
    assert labels == [f"scissorhands:fraction={a},forget_weight={b}" for a, b in product(*SPACE.values())]
    assert plan().grid == 6
    assert plan().settings()[0].values == {"fraction": 0.001, "forget_weight": 0.5}


def test_fewer_trials_are_drawn_once_each_and_begin_a_longer_draw() -> None:
    few, more = ([row.label for row in plan(trials=n).settings()] for n in (3, 5))
    assert more[:3] == few
    assert len(set(more)) == 5
    assert few != [row.label for row in plan(trials=3, draw=1).settings()]
    assert [row.label for row in plan(trials=6).settings()] == [row.label for row in plan(trials=99).settings()]
    huge = plan(space={f"o{i}": tuple(map(str, range(10))) for i in range(30)})
    assert huge.grid == 10**30


def test_the_space_is_the_same_typed_and_filed(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text('fraction = [0.001, 0.005]\ntwo_sided = [true, false]\nspare = ["none", "divide"]\n')
    typed = ["fraction=0.001,0.005,0.001", "two-sided=true, false", "spare=none,divide"]
    assert (
        space_of(typed)
        == space_of(file=file)
        == {"fraction": ("0.001", "0.005"), "two_sided": ("true", "false"), "spare": ("none", "divide")}
    )


@pytest.mark.parametrize(
    ("over", "text", "said"),
    [
        ([], None, "the space is empty, so there is nothing to try; give --over NAME=V1,V2"),
        ([], "", "the space is empty"),
        (["fraction="], None, "the space has no value for fraction"),
        (["fraction"], None, "--over 'fraction' is not NAME=V1,V2"),
        (["fraction=0.1", "fraction=0.2"], None, "the space has fraction twice"),
        ([], "fraction = 0.1", "fraction is 0.1; expected a list of values"),
        ([], "fraction = [", "not valid TOML"),
        ([], 'scope = ["re:a,b"]', "a value with a comma cannot be a trial"),
    ],
)
def test_a_bad_space_is_one_line(tmp_path: Path, over: list[str], text: str | None, said: str) -> None:
    file = tmp_path / "space.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        space_of(over, file if text is not None else None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"fracton": ("0.1",)}, "scissorhands has no option 'fracton', did you mean 'fraction'?"),
        ({"fraction": ("2",)}, "--fraction is 2.0; expected at most 1.0"),
        ({"steps": ("many",)}, "steps is 'many'; expected int"),
    ],
)
def test_what_the_method_has_not_is_refused_before_any_work(space: dict[str, tuple[str, ...]], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        sweep(plan(space=space), tmp_path / "sweep", lambda folder: None)
    assert said in str(caught.value)
    assert not (tmp_path / "sweep").exists()


def test_a_setting_as_flags() -> None:
    assert flags("scissorhands:fraction=0.001,two_sided=true,projected=false") == "--fraction 0.001 --two-sided --no-projected"
    assert flags("salun:steps=7") == "--method salun --steps 7"


# --- the score ------------------------------------------------------------------------------------------------------


def test_the_score_is_the_smaller_of_forgetting_and_keeping() -> None:
    assert worth(report(90, 99)) == {"forgetting": 90, "keeping": 99, "score": 90}
    assert worth(report(99, 45, before=50)) == {"forgetting": 99, "keeping": 90, "score": 90}
    assert worth(report(99, 120)) == {"forgetting": 99, "keeping": 100, "score": 99}
    implicit = report(99, 99)
    implicit["after"]["ua_implicit"] = {"value": 70.0}
    assert worth(implicit)["score"] == 70
    assert worth({"before": {}, "after": {"clip_score": {"value": 30}}}) is None


def test_trials_stand_by_score_then_by_the_worst_run_then_by_time_and_failed_ones_last() -> None:
    def runs(label: str, *values: tuple[float, float]) -> list[Any]:
        return [(f"m:{label}", {"concept": f"c{i}", "seed": 0}, report(ua, 100, seconds=s), None) for i, (ua, s) in enumerate(values)]

    found = trials([*runs("slow", (90, 9), (90, 9)), *runs("uneven", (80, 1), (100, 1)),
                    *runs("quick", (90, 1), (90, 1)), *runs("best", (95, 9), (95, 9)),
                    ("m:broken", {"concept": "c0", "seed": 0}, None, "Diverged: the loss"), *runs("broken", (100, 1))])  # fmt: skip
    assert [t["label"] for t in found] == ["m:best", "m:quick", "m:slow", "m:uneven", "m:broken"]
    assert (found[3]["score"], found[3]["worst"], found[4]["score"]) == (90, 80, None)
    text = table(found)
    assert text.splitlines()[1].split() == ["95.0", "95.0", "95.0", "100.0", "9.0", "2", "best"]
    assert "failed: broken on c0, seed 0: Diverged: the loss" in text
    assert len(points(scatter_svg(found))) >= 4


# --- whole sweeps ---------------------------------------------------------------------------------------------------


def cheap(model: Path) -> Sweep:
    return plan(str(model), space={"steps": ("1", "2"), "batch": ("2",), "sensitivity_batches": ("1",)})


def test_a_sweep_draws_the_originals_pictures_once_and_goes_on_where_it_stopped(tiny_pipeline: Path, tmp_path: Path) -> None:
    seen: list[Path] = []

    def stop(folder: Path) -> None:
        seen.append(folder)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(cheap(tiny_pipeline), tmp_path / "sweep", stop)
    done: list[str] = []
    cells = sweep(cheap(tiny_pipeline), tmp_path / "sweep", lambda folder: done.append(folder.name))
    assert [cell.failure for cell in cells] == [None] * 4
    assert done == [f"{c}-0-steps={s},batch=2,sensitivity_batches=1" for s in (1, 2) for c in ("star", "red")]
    ours = [tmp_path / "sweep" / "runs" / name for name in done]
    first, third = (folder / "images" / "forget" / "00000.png" for folder in (ours[0], ours[2]))
    assert first.stat().st_ino == third.stat().st_ino
    assert [Run.read(folder).options["method_options"]["steps"] for folder in ours] == [1, 1, 2, 2]
    more = replace(cheap(tiny_pipeline), concepts=("star", "red", "ring"), trials=1)
    assert len(sweep(more, tmp_path / "sweep", lambda folder: None)) == 3
    with pytest.raises(InputError, match="holds a run with other options: space"):
        sweep(plan(str(tiny_pipeline), space={"steps": ("1", "3")}), tmp_path / "sweep", lambda folder: None)


@pytest.mark.usefixtures("any_rate")
def test_a_setting_that_breaks_does_not_stop_the_others(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"learning_rate": ("1e-3", "1e30"), "steps": ("3",), "batch": ("2",), "sensitivity_batches": ("1",)}
    cells = sweep(plan(str(tiny_pipeline), space=space, concepts=("star",)), tmp_path / "sweep", lambda folder: None)
    assert [cell.failure is None for cell in cells] == [True, False]
    assert "not finite" in str(cells[1].failure)
    assert CHECKPOINT_EVERY == 20


def test_the_command_says_which_setting_is_best_and_on_what(
    tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [w for name, value in SMALL.items() for w in (f"--{name.replace('_', '-')}", str(value))]
    words = ["sweep", "--concepts", "star", "--model", str(tiny_pipeline), "--output", str(tmp_path / "sweep"), *small]
    words += ["--over", "steps=1,2", "batch=2", "sensitivity_batches=1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "score: the smaller of forgetting" in out
    assert "settings tried: 2 of 2, on star" in out
    assert "on concepts that the sweep has not used: erase-concept bench --concepts NAME ... --methods scissorhands:steps=" in out
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert (record["concepts"], record["tried"], record["kind"]) == (["star"], 2, "sweep")
    assert record["flags"].startswith("--steps ")
    assert {t["label"] for t in record["trials"]} == {f"scissorhands:steps={s},batch=2,sensitivity_batches=1" for s in (1, 2)}
    assert (tmp_path / "sweep" / "sweep.svg").read_text().startswith("<svg")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == record["best"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--concepts", "star"], "the space is empty"),
        (["--over", "fraction=0.1"], "--concepts is missing"),
        (["--concepts", "star", "--over", "fraction=0.1", "--trials", "0"], "--trials is 0; expected at least 1"),
        (["--concepts", "star", "--over", "fraction=0.1", "--seeds", "0"], "--seeds is 0; expected at least 1"),
        (["--concepts", "star", "star", "--over", "fraction=0.1"], "star"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words, "--output", str(tmp_path / "sweep")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
