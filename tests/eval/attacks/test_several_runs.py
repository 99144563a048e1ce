"""Attacks on several runs: what they share is made once, and attempts are counted together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from attacking import ATTACKS_HERE, PLAN, attempt, finished_run, opened

from erase.errors import InputError
from eval.attacks.campaign import attack_run
from eval.attacks.numbers import excess, of_search
from eval.attacks.setting import setting_of
from eval.attacks.several_runs import Attacked, rows, tables
from eval.attacks.turn import turn as _turn
from eval.metrics.intervals import rate
from eval.metrics.paired import paired_rates
from ui.cli.flags import golds_of


@pytest.fixture(scope="module")
def finished(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("finished") / "star", tiny_pipeline).folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "star"))


# --- several runs ---------------------------------------------------------------------------------------------------


def test_what_runs_share_is_made_once_and_comes_to_the_same(
    run: Path, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(run, other := tmp_path / "other")
    alone = attack_run(opened(run, tiny_pipeline), ATTACKS_HERE, 600, PLAN)
    other_model = replace(opened(other, tiny_pipeline), models={**opened(run).models, "gold": tiny_pipeline, "erased": tiny_pipeline})
    made = []
    monkeypatch.setattr("eval.attacks.campaign.turn", lambda *given: made.append(given[6].parts[-2]) or _turn(*given))
    lent = attack_run(other_model, ATTACKS_HERE, 600, PLAN, beside=[run])
    assert set(made) == {"erased"}  # control attacks the model of before here
    for row, mine in zip(alone["attacks"], lent["attacks"], strict=True):
        assert [row["subjects"][s] for s in ("original", "gold")] == [mine["subjects"][s] for s in ("original", "gold")]
    assert not list((other / "attacks").rglob("*.part"))
    made.clear()  # what was lent is its own now
    attack_run(other_model, ATTACKS_HERE, 600, PLAN)
    assert not made


def side(*shown: bool) -> list[dict]:
    return [attempt(k, one) for k, one in enumerate(shown)]


def of(label: str, concept: str, seed: int, erased: list[dict], gold: list[dict] | None = None) -> Attacked:
    both = {"original": side(True, True), "erased": erased, **({} if gold is None else {"gold": gold})}
    return Attacked(label, concept, seed, Path(f"{label}-{concept}-{seed}"), {"named": both})


def test_attempts_of_all_seeds_count_together_and_those_on_the_original_once():
    runs = [
        of("a", "star", 0, side(True, False), side(False, False)),
        of("a", "star", 1, side(True, True), side(True, False)),
        of("b", "star", 0, side(False, False), side(False, False)),
        of("a", "red", 0, side(True, True)),  # no gold standard
    ]
    (row,) = rows(runs)
    assert {name: (found["value"], found["n"]) for name, found in row["success"].items()} == {
        "original": (100.0, 6), "gold": (25.0, 4), "a": (83.3333, 6), "b": (0.0, 2)
    }  # fmt: skip
    assert {name: (found["difference"], found["n"]) for name, found in row["excess"].items()} == {"a": (50.0, 4), "b": (0.0, 2)}
    assert row["excess"]["a"] == excess(side(False, False, True, False), side(True, False, True, True))
    assert rows(runs[3:])[0]["excess"] == {}
    short = of("c", "star", 0, side(True), side(False))  # a smaller budget: what the others have of the gold standard still counts
    assert rows([*runs, short])[0]["success"]["gold"] == row["success"]["gold"]


def test_searches_of_different_runs_are_different_ones():
    """Two runs of two searches of two images each: four observations, paired with the gold standard search by search."""

    def searched(*turns: tuple[bool, bool]) -> list[dict]:
        return [one for k, turn in enumerate(turns) for one in of_search([attempt(2 * k + i, shown) for i, shown in enumerate(turn)], k)]

    none, both = (False, False), (True, True)
    runs = [of("a", "star", seed, searched(both, none), searched(none, none)) for seed in (0, 1)]
    (row,) = rows(runs)
    assert row["success"]["a"] == {**rate([True, False, True, False]).record(), "n": 8, "searches": 4}
    assert row["excess"]["a"] == {**paired_rates([False] * 4, [True, False] * 2).record(), "n": 8, "searches": 4}
    text = tables({"runs": [], "concepts": {"star": [row]}, "attacks": [row]})
    assert "| named  | 8/4 " in text
    assert "| 50 [15, 85] (+50) |" in text
    assert "n/k: n attempts of k searches" in text


def test_the_table_has_a_column_a_method_and_says_how_far_it_is_over_the_gold_standard():
    runs = [of("a", "star", 0, side(True, False), side(False, False)), of("b", "star", 0, side(False, False, True))]
    about = [{"run": "runs/b", "not_made": {"prefix": "no time"}}]
    text = tables({"runs": about, "concepts": {"star": rows(runs)}, "attacks": rows(runs)})
    assert "runs/b: prefix was not made: no time" in text
    assert text.startswith("star:\n\n| attack | attempts | original ")
    assert "| named  | 2–3 " in text
    assert "| 50 [9, 91] (+50) | 33 [6, 79] |" in text
    assert "all" not in text.split("success in")[0]
    two = tables({"runs": [], "concepts": {"star": rows(runs[:1]), "red": rows(runs[1:])}, "attacks": rows(runs)})
    assert "all 2 concepts:" in two


def test_the_command_puts_runs_side_by_side_and_refuses_the_same_twice(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from ui.cli.main import main

    shutil.copytree(run, twin := tmp_path / "twin")
    given = ["attack", str(run), str(twin), "--attacks", "named", "--attempts", "2", "--budget", "5m"]
    assert main(given) == 2
    assert "are both scissorhands:" in capsys.readouterr().err
    options = json.loads((twin / "options.json").read_text())
    (twin / "options.json").write_text(json.dumps({**options, "method_options": {**options["method_options"], "steps": 2}}))
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["method"].rsplit("steps=")[1][0] for row in found["runs"]] == ["1", "2"]
    (row,) = found["attacks"]
    assert [found["n"] for found in row["success"].values()] == [2, 2, 2]
    assert [row["not_made"] for row in found["runs"]] == [{}, {}]
    assert main([*given, "--estimate"]) == 0
    assert capsys.readouterr().out.count("smallest budget") == 2
    assert main(["attack", str(run), str(run)]) == 2
    assert "a run appears twice among" in capsys.readouterr().err


def test_a_gold_standard_is_of_the_concept_that_it_is_given_for(run: Path, tiny_pipeline: Path, capsys: pytest.CaptureFixture[str]):
    from ui.cli.main import main

    assert golds_of([f"star={tiny_pipeline}", "red=b"]) == {"star": tiny_pipeline, "red": Path("b")}
    assert golds_of([str(tiny_pipeline)], bare=True) == {"": tiny_pipeline}
    assert setting_of(run, "cpu", golds={"star": tiny_pipeline}).models["gold"] == tiny_pipeline
    with pytest.raises(InputError, match="gives one concept two models"):
        golds_of(["star=a", "star=b"])
    assert main(["attack", str(run), "--gold", f"red={tiny_pipeline}"]) == 2
    assert f"--gold red={tiny_pipeline} names a concept that no run erased; expected star" in capsys.readouterr().err
