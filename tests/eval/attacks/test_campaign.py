"""A campaign goes on where it stopped and comes to the same, shares its time, and counts as it says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import attacking
import pytest
from attacking import ATTACKS_HERE, PLAN, attempt, opened

from erase.errors import InputError
from erase.files import sha256
from erase.run import Run
from eval.attacks.budget import seconds, whose
from eval.attacks.campaign import Ledger, attack_run, estimate_run
from eval.attacks.numbers import curve_of, excess, numbers, row_of, searches, summary
from eval.attacks.options import Campaign
from eval.attacks.papers import PAPER
from eval.attacks.registry import ATTACKS, chosen
from eval.attacks.report_section import attacks_of, section
from eval.attacks.setting import _concept, setting_of
from eval.attacks.status import Standing, standing
from eval.attacks.store import place
from eval.attacks.success import Sight, sight_of
from eval.attacks.table import table
from eval.attacks.text.named import Named
from eval.attacks.text.random_tokens import RandomTokens
from eval.measurement.measure import Tools
from eval.metrics.paired import paired_rates
from eval.rendering.claims import withstands
from eval.vision.detector import Detection


@pytest.fixture(scope="module")
def made(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacking.finished_run(tmp_path_factory.mktemp("runs") / "star", tiny_pipeline).folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "star")
    return tmp_path / "star"


def hashes(run: Path) -> dict[str, str]:
    return {path.relative_to(run).as_posix(): sha256(path) for path in sorted((run / "attacks").rglob("*.png"))}


def without_times(report: dict) -> dict:
    return {**report, "protocol": {k: v for k, v in report["protocol"].items() if k not in ("environment", "budget_seconds")}}


def test_the_attacks_of_papers_take_every_prompt_once(run: Path, tiny_pipeline: Path):
    setting = opened(run, tiny_pipeline)
    whole = replace(setting.goals["erased"], every=(*setting.goals["erased"].targets,) * 100)
    setting = replace(setting, goals={**setting.goals, "erased": whole})
    every = len(whole.every)
    assert every > Campaign.attempts
    ledger = Ledger(setting, {"prefix-paper": PAPER["prefix-paper"], "named": Named()}, Campaign())
    assert (ledger.most("prefix-paper"), ledger.most("named")) == (every, Campaign.attempts)
    assert Ledger(setting, {"prefix-paper": PAPER["prefix-paper"]}, Campaign(attempts=5)).most("prefix-paper") == 5


# --- going on -------------------------------------------------------------------------------------------------------


def test_resumed_equals_uninterrupted_and_what_is_done_is_not_done_again(run: Path, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch):
    whole = attack_run(opened(run, tiny_pipeline), ATTACKS_HERE, 600, PLAN)
    pictures = hashes(run)
    assert len(pictures) == 4 * 2 * 4  # subjects, attacks, attempts
    for gone in (place(run / "attacks", "inversion", "gold", 1), place(run / "attacks", "named", "erased", 0)):
        shutil.rmtree(gone)
    again = attack_run(opened(run, tiny_pipeline), ATTACKS_HERE, 600, PLAN)
    assert hashes(run) == pictures
    assert without_times(again) == without_times(whole)
    monkeypatch.setattr("eval.attacks.campaign.turn", lambda *given: pytest.fail("done again"))
    attack_run(opened(run, tiny_pipeline), ATTACKS_HERE, 600, PLAN)


def test_other_options_of_an_attack_are_tried_anew_and_a_gold_standard_may_come_later(run: Path, tiny_pipeline: Path):
    setting = opened(run)
    first = attack_run(replace(setting, models={k: v for k, v in setting.models.items() if k != "gold"}), {"named": Named()}, 600, PLAN)
    assert first["attacks"][0]["excess"] is None
    kept = hashes(run)
    second = attack_run(opened(run, tiny_pipeline), {"named": Named()}, 600, PLAN)
    assert second["attacks"][0]["excess"] is not None
    assert kept.items() <= hashes(run).items()
    ledger = Ledger(setting, {"random": RandomTokens(tries=1)}, PLAN)
    other = Ledger(setting, {"random": RandomTokens(tries=2)}, PLAN)
    assert ledger.key("random", "erased", 0) != other.key("random", "erased", 0)


def test_another_device_is_refused_and_to_start_again_forgets_what_was_there(run: Path):
    attack_run(opened(run), {"named": Named()}, 600, PLAN)
    options = json.loads((run / "attacks" / "options.json").read_text())
    (run / "attacks" / "options.json").write_text(json.dumps({**options, "device": "cuda"}))
    with pytest.raises(InputError, match="--overwrite to start again"):
        attack_run(opened(run), {"named": Named()}, 600, PLAN)
    attack_run(opened(run), {"quantise": ATTACKS["quantise"]}, 600, replace(PLAN, overwrite=True))
    assert sorted(path.name for path in (run / "attacks").iterdir() if path.is_dir()) == ["quantise"]


def test_the_same_model_in_all_places_leaves_no_excess(run: Path, tiny_pipeline: Path):
    setting = opened(run, tiny_pipeline)
    setting = replace(setting, models={**setting.models, "erased": tiny_pipeline})
    report = attack_run(setting, {"named": Named()}, 600, PLAN)
    row = report["attacks"][0]
    assert row["excess"]["difference"] == 0
    assert row["subjects"]["erased"] == row["subjects"]["gold"] == row["subjects"]["original"]


def test_a_list_of_prompts_has_no_control_and_ends_with_its_last_prompt(run: Path, tiny_pipeline: Path):
    (run / "list.csv").write_text("prompt\na red star\nstars\nthe star\n")
    attacks = chosen([], [run / "list.csv"])
    report = attack_run(opened(run, tiny_pipeline), attacks, 600, PLAN)
    row = report["attacks"][0]
    assert (row["attack"], row["attempts"], row["turns"]) == ("list-list", 3, 2)
    assert list(row["subjects"]) == ["original", "erased", "gold"]
    assert "–" in table(report)


def test_an_estimate_names_the_smallest_budget_and_what_is_left_and_writes_nothing(run: Path):
    setting = opened(run)
    before = sorted(run.rglob("*"))
    first = estimate_run(replace(setting, missing={"pictures": "none"}), ATTACKS_HERE, PLAN)
    assert sorted(run.rglob("*")) == before
    assert first["smallest_seconds"] == first["attacks"]["named"]["turn_seconds"] > 0
    assert (first["attacks"]["named"]["turns_left"], list(first["not_run"])) == (2, ["inversion"])
    attack_run(setting, {"named": Named()}, 600, PLAN)
    assert estimate_run(setting, {"named": Named()}, PLAN)["all_that_is_left_seconds"] == 0


def test_how_far_it_is_can_be_read_until_it_ends(run: Path):
    found: list[Standing | None] = []
    attack_run(opened(run), {"named": Named()}, 600, PLAN, lambda name, done, total: found.append(standing(run / "attacks")))
    assert found[0] is None
    assert found[1] is not None  # the second turn
    assert (found[1].attack, found[1].subject, found[1].attempts) == ("named", "control", {"named": (0, 4)})
    assert standing(run / "attacks") is None


def test_stopped_it_tells_what_is_complete(run: Path):
    turns: list[str] = []

    def stop(name: str, done: int, total: int) -> None:
        turns.append(name)
        if len(turns) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_run(opened(run), ATTACKS_HERE, 600, PLAN, stop)
    made, idle = sorted(attacks_of(run)["attacks"], key=lambda row: "not_run" in row)
    assert made["turns"] == 1
    assert idle["not_run"] == "it was stopped before its first turn had ended"


# --- what may be wrong ----------------------------------------------------------------------------------------------


def test_a_budget_that_is_too_small_is_said_with_what_is_needed(run: Path):
    with pytest.raises(InputError, match=r"--budget of 1 s is too small for one turn of any attack: the quickest, named, takes about"):
        attack_run(opened(run), {"named": Named()}, 1e-9, PLAN)


def test_a_budget_that_is_too_small_costs_nothing_that_is_there(run: Path):
    attack_run(opened(run), {"named": Named()}, 600, PLAN)
    before = sorted(path for path in (run / "attacks").rglob("*") if path.is_file())
    assert before
    with pytest.raises(InputError, match="is too small"):
        attack_run(opened(run), {"named": Named()}, 1e-9, replace(PLAN, overwrite=True))
    assert sorted(path for path in (run / "attacks").rglob("*") if path.is_file()) == before


def test_attacks_without_pictures_or_original_are_left_out_and_said_and_none_left_is_a_mistake(run: Path, tiny_pipeline: Path):
    setting = replace(opened(run), missing={"pictures": "the run has none", "original": "gone is not at hand"})
    report = attack_run(setting, {"named": Named(), "inversion": ATTACKS_HERE["inversion"]}, 600, PLAN)
    assert report["attacks"][1]["not_run"] == "needs images of the concept: the run has none"
    assert "inversion was not made: needs images of the concept" in table(report)
    with pytest.raises(InputError, match="no attack can be made: hard-prompt needs images of the concept: the run has none"):
        attack_run(setting, {"hard-prompt": ATTACKS["hard-prompt"]}, 600, PLAN)


def test_a_run_without_its_original_says_so_and_is_attacked_all_the_same(run: Path):
    options = json.loads((run / "options.json").read_text())
    (run / "options.json").write_text(json.dumps({**options, "model": str(run / "moved")}))
    setting = setting_of(run, "cpu")
    assert setting.subjects == ["erased", "control"]
    assert "is not available" in setting.missing["original"]


def test_pictures_that_the_detector_does_not_know_are_not_known_pictures(run: Path):
    """The tiny pipeline draws noise, in which the judge sees no star: that there is nothing to go by is said."""
    setting = setting_of(run, "cpu")
    if not setting.goals["erased"].pictures:
        assert "give some with --pictures" in setting.missing["pictures"]
    attacking.picture(run / "mine" / "a.png", 3)
    mine = setting_of(run, "cpu", pictures=run / "mine")
    assert "pictures" not in mine.missing
    assert [target.text for target in mine.goals["erased"].targets] == ["a picture of star"]


def test_what_is_no_run_and_what_has_no_model_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(InputError, match="is not a run folder"):
        setting_of(tmp_path, "cpu")
    with pytest.raises(InputError, match=r"--concept ring was not erased in .*; expected star"):
        setting_of(run, "cpu", concept="ring")
    assert _concept(run, {"concept_file": {"name": "beer-mug"}}, "beer mug") == {"name": "beer-mug"}  # as its user called it
    with pytest.raises(InputError, match=r"--gold .* does not exist"):
        setting_of(run, "cpu", golds={"": tmp_path / "none"})
    shutil.rmtree(run / "model")
    with pytest.raises(InputError, match="has no model to attack"):
        setting_of(run, "cpu")


def test_without_a_detector_nothing_can_be_judged(run: Path):
    concept = Run.read(run).options["concept_file"]
    with pytest.raises(InputError, match="there is none: it is not installed; give one with --detector"):
        sight_of(concept, Tools(missing={"ua, ira, cra": "it is not installed"}))


# --- counting -------------------------------------------------------------------------------------------------------


def test_success_counts_an_attempt_once_any_look_shows_it_and_half_is_the_effort_of_half():
    found = [attempt(0, True), attempt(1, False, True), attempt(2, False, False), attempt(3, False, False)]
    assert numbers(found)["success"]["value"] == 50
    assert numbers(found)["success"]["n"] == 4
    assert [(p["effort"], p["success"], p["now"], p["n"]) for p in curve_of(found)] == [(1.0, 25.0, 25.0, 4), (2.0, 50.0, 33.3333, 3)]
    assert numbers(found)["half"] == 2.0
    assert numbers(found[2:])["half"] is None


def test_the_excess_is_paired_by_attempt():
    gold, erased = [attempt(0, True), attempt(1, False)], [attempt(1, True), attempt(0, True), attempt(7, True)]
    found = excess(gold, erased)
    assert (found["difference"], found["n"]) == (50.0, 2)
    assert found["low"] < 0 < found["high"]


def test_turns_that_not_every_subject_has_do_not_count():
    one, two = {"attempts": [attempt(0, True)]}, {"attempts": [attempt(1, False)]}
    row = row_of({"erased": [one, two], "gold": [one]}, shared=True)
    assert (row["attempts"], row["searches"], row["excess"]["n"]) == (1, 1, 1)


def turns(*outcomes: tuple[bool, ...]) -> list[dict]:
    """The records of turns with these outcomes."""
    starts = [sum(map(len, outcomes[:k])) for k in range(len(outcomes))]
    return [{"attempts": [attempt(start + i, one) for i, one in enumerate(turn)]} for start, turn in zip(starts, outcomes, strict=True)]


def test_a_search_counts_once_however_many_images_are_drawn_of_it():
    """8 searches of 8 alike, 4 succeed: Wilson's interval of 4 in 8 is [22, 78]; of 32 in 64 images it would be [38, 62]."""
    erased, gold = turns(*[(True,) * 8, (False,) * 8] * 4), turns(*[(False,) * 8] * 8)
    row = row_of({"erased": erased, "gold": gold}, shared=True)
    success = row["subjects"]["erased"]["success"]
    assert (row["attempts"], row["searches"], success["n"], success["searches"]) == (64, 8, 64, 8)
    assert (success["value"], round(success["low"]), round(success["high"])) == (50, 22, 78)
    by_search = paired_rates([False] * 8, [True, False] * 4).record()  # one pair per search
    assert row["excess"] == {**by_search, "n": 64, "searches": 8}
    alone = row_of({"erased": erased, "gold": gold}, shared=False)
    assert [round(alone["subjects"]["erased"]["success"][end]) for end in ("low", "high")] == [38, 62]
    assert alone["excess"]["low"] > row["excess"]["low"]


def test_the_sentence_and_the_tables_have_the_interval_of_the_searches():
    erased, gold = turns(*[(True,) * 8, (False,) * 8] * 4), turns(*[(False,) * 8] * 8)
    shared, single = (row_of({"erased": erased, "gold": gold}, shared=shared) for shared in (True, False))
    row = {"attack": "inversion", **shared}
    text = summary([row], "star")
    assert "inversion, brings star back in 50 [22, 78] % of its attempts (of 8 searches), and in 0 [0, 32] % from" in text
    report = {"subjects": ["erased", "gold"], "attacks": [row], "protocol": {"control": None}, "without": {}, "summary": text}
    lines = table(report).splitlines()
    assert lines[1].split("  ")[0] == "inversion"
    assert "64/8" in lines[1]
    assert "50 [22, 78]" in lines[1]
    assert any(line.startswith("n/k: n attempts of k searches") for line in lines)
    plain = table({**report, "attacks": [{"attack": "named", **single}]})
    assert "50 [38, 62]" in plain
    assert "searches" not in plain.replace(text, "")


def test_an_attack_that_succeeds_on_any_model_tells_nothing_alone():
    """Any good model draws nearly any image from some noise: only beside a model that never knew the concept does it count."""
    always, never = turns(*[(True,) * 8] * 8), turns(*[(False,) * 8] * 8)
    alone = {"attack": "likelihood", "comparative": True, **row_of({"erased": always}, shared=False)}
    beside = {**alone, **row_of({"erased": always, "gold": always}, shared=False)}
    held = {"attack": "prefix", "comparative": False, **row_of({"erased": never}, shared=False)}
    assert withstands({"attacks": {"attacks": [alone]}}).word == "Not tried"
    assert withstands({"attacks": {"attacks": [alone, held]}}).answer == withstands({"attacks": {"attacks": [held]}}).answer
    assert "without a model that was trained without star" in summary([alone], "star")
    assert "strongest, prefix" in summary([alone, held], "star")
    assert withstands({"attacks": {"attacks": [beside]}}).level != "bad"
    assert withstands({"attacks": {"attacks": [{**alone, "comparative": False}]}}).level == "bad"


def test_only_a_search_that_differs_between_turns_is_one_observation():
    """Rounding weights finds the same every time, so its images are independent; learned vectors depend on the turn."""
    by_search = {name for name, attack in ATTACKS.items() if searches(attack)}
    assert by_search == {"inversion-1", "inversion", "inversion-8", "relearn", "relearn-fast", "benign", "transfer", "revive"}
    assert {name for name, attack in ATTACKS.items() if attack.shared} - by_search == {"quantise", "interpolate", "restore"}


def test_the_next_turn_is_the_neglected_attacks_and_never_one_that_does_not_fit():
    assert whose({"a": 5.0, "b": 3.0}, {"a": 1.0, "b": 1.0}, 10.0) == "b"
    assert whose({"a": 5.0, "b": 3.0}, {"a": 1.0, "b": 11.0}, 10.0) == "a"
    assert whose({"a": 0.0, "b": 0.0}, {"a": 2.0, "b": 1.0}, 10.0) == "b"
    assert whose({"a": 0.0}, {"a": 2.0}, 1.0) is None
    spent, left = {"a": 0.0, "b": 0.0}, 100.0
    while (name := whose(spent, turns := {"a": 3.0, "b": 7.0}, left)) is not None:
        spent[name] += turns[name]
        left -= turns[name]
    assert abs(spent["a"] - spent["b"]) <= 7


def test_a_budget_is_written_as_people_write_it():
    assert [seconds(text) for text in ("90s", "10m", "1.5h", "45")] == [90, 600, 5400, 45]
    for wrong in ("soon", "0m", "-3s", "10 minutes"):
        with pytest.raises(InputError, match=r"is not a time; expected e\.g\. 90s, 10m or 1h"):
            seconds(wrong)


def test_a_detector_of_other_things_counts_what_it_finds_and_one_that_knows_the_domain_its_best():
    class Found:
        def __init__(self, *found: Detection) -> None:
            self.found = list(found)

        def __call__(self, images: object) -> list[list[Detection]]:
            return [self.found]

        def facts(self) -> dict:
            return {}

    image = attacking.Image.new("RGB", (8, 8))
    nude, star, ring = Detection("BREAST", 0.7), Detection("star", 0.4), Detection("ring", 0.5)
    assert Sight(Found(nude), "content", "nudity", [])([image]) == [(True, "BREAST")]
    assert Sight(Found(), "content", "nudity", [])([image]) == [(False, "")]
    assert Sight(Found(star, ring), "shape", "star", ["star", "ring"])([image]) == [(False, "ring")]
    assert Sight(Found(star, nude), "shape", "star", ["star", "ring"])([image]) == [(True, "star")]


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_section_shows_what_broke_through_and_blurs_it_where_it_should(run: Path, tiny_pipeline: Path):
    assert section(run, hide=False) == ""
    report = attack_run(opened(run, tiny_pipeline, bar=-1.0), {"named": Named()}, 600, PLAN)
    assert report["attacks"][0]["subjects"]["erased"]["success"]["value"] == 100
    text = section(run, hide=False)
    assert text.count("<img") == 4
    assert "never knew it" in text
    blurred = section(run, hide=True)
    assert "They are blurred." in blurred
    assert blurred.count('alt="blurred: ') == 4
    assert not set(_sources(text)) & set(_sources(blurred))
    assert attacks_of(run) == json.loads(json.dumps(report))
    assert "100 [51, 100]" in table(report)


def _sources(text: str) -> list[str]:
    return [part.split('"')[0] for part in text.split('src="')[1:]]


def test_nothing_that_broke_through_is_said(run: Path, tiny_pipeline: Path):
    attack_run(opened(run, tiny_pipeline, bar=999.0), {"named": Named()}, 600, PLAN)
    assert "Nothing broke through." in section(run, hide=False)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_attacks_a_run_and_its_report_gets_a_section(run: Path, capsys: pytest.CaptureFixture[str]):
    from eval.report import evaluate_run
    from ui.cli.main import main

    evaluate_run(run)
    assert '<h2 id="attacks">' not in (run / "report.html").read_text()
    assert main(["attack", str(run), "--attacks", "named", "--attempts", "2", "--budget", "5m", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["attacks"][0]["attempts"] == 2
    assert json.loads((run / "report.json").read_text())["attacks"] == report
    assert '<h2 id="attacks">' in (run / "report.html").read_text()
    assert main(["attack", str(run), "--attacks", "named", "--attempts", "4", "--estimate"]) == 0
    assert "smallest budget      about" in capsys.readouterr().out
    assert main(["attack", str(run), "--attacks", "nmed"]) == 2
    assert 'the attack "nmed" is unknown, did you mean "named"?' in capsys.readouterr().err
