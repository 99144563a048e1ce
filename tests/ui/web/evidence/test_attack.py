"""Attack on the page: the job is the command's, a mistake is one line, and images that broke through are blurred by default."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import attacking
import pytest
from page_runs import erased_run, measured_run

from erase.errors import InputError
from erase.files import write_json
from eval.attacks.catalogue import CATALOGUE, QUICK
from eval.attacks.status import STANDING, Standing, note
from ui.cli.main import main
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.erase.watch import choices, queue, watched
from ui.web.evidence.attack_handlers import OPTIONS, AttackRequest, arguments_of, attackable, estimate, families, job_of, start
from ui.web.evidence.attack_view import absent, covered, foreseen, head, planned, result
from ui.web.jobs.entry import FAILED, RUNNING, WAITING, Entry
from ui.web.jobs.queue import Jobs
from ui.web.security.owners import claim
from ui.web.shelf.report import report_text

pytestmark = pytest.mark.usefixtures("quick_processes")
LONG = 300.0
SESSION = {"visitor": "v", "job": ""}


def options(seed: float = 0, attempts: float = 2, at_once: float = 2) -> dict[str, float]:
    return {"seed": seed, "attempts": attempts, "at_once": at_once}


FEW = AttackRequest("star", "some", ["named"], 5, options=options())


@pytest.fixture(scope="module")
def made(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from eval.report import evaluate_run

    folder = attacking.finished_run(tmp_path_factory.mktemp("made") / "star", tiny_pipeline).folder
    evaluate_run(folder)
    return folder


@pytest.fixture
def page(made: Path, tmp_path: Path) -> Iterator[Page]:
    shutil.copytree(made, tmp_path / "runs" / "star")
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"), device="cpu")  # the worker is not started


def waiting(page: Page) -> Page:
    """The queue takes jobs, and nobody runs them."""
    page.jobs.close()
    return page


def attacked(page: Page, detector: str = "judge", success: bool = True) -> Path:
    """A run with the report of one attack, as the campaign writes it."""
    folder = page.runs / "star" / "attacks"
    looks = [{"effort": 1.0, "by": "a <b>red</b> star", "shows": success, "saw": "star"}]
    for turn in ("erased", "gold"):
        attacking.picture(folder / "named" / turn / "0000" / "00.png", 3)
        attempts = [{"index": 0, "asked": "a red star", "looks": looks, "picture": "00.png"}]
        write_json(folder / "named" / turn / "0000" / "record.json", {"key": "0", "goal": "star", "attempts": attempts, "seconds": 1.0})
    one = {"success": {"value": 100.0, "low": 20.0, "high": 100.0, "n": 1}, "half": 1.0, "curve": []}
    row = {"attack": "named", "assumes": "prompts", "attempts": 1, "turns": 1, "effort": 1.0, "subjects": {"erased": one, "gold": one}}
    row["excess"] = {"difference": 0.0, "low": -79.0, "high": 79.0, "n": 1}
    protocol = {"budget_seconds": 300.0, "control": None, "detector": {"name": detector}}
    more = {"subjects": ["erased", "gold"], "without": {}, "summary": "It comes back.", "concept": "star"}
    write_json(folder / "report.json", {"attacks": [row], "protocol": protocol, **more})
    return page.runs / "star"


def inner(frame: str) -> str:
    assert frame.startswith('<iframe class="fitted" sandbox="allow-same-origin" title="')  # no allow-scripts: none runs
    return html.unescape(frame.partition('srcdoc="')[2])


# --- the job ----------------------------------------------------------------------------------------------------------


def test_the_pages_job_comes_to_what_the_command_comes_to(page: Page, made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "other" / "star")
    assert main(["attack", str(tmp_path / "other" / "star"), "--attacks", "named", "--attempts", "2", "--at-once", "2"]) == 0
    entry = start(page, SESSION, FEW)
    assert page.jobs.wait(entry.id, LONG).state == "done", page.jobs.log(entry.id).read_text()
    ours, theirs = (json.loads((root / "star" / "attacks" / "report.json").read_text()) for root in (page.runs, tmp_path / "other"))
    for report in (ours, theirs):
        del report["protocol"]["budget_seconds"]
    assert ours == theirs
    assert ours["attacks"][0]["attempts"] == 2
    assert '<h2 id="attacks">' in inner(result(page, SESSION, "star", False))
    assert '<h2 id="attacks">' in report_text(page.runs / "star", "whole", False)  # in the report, too


def test_a_stopped_one_is_resumed_by_the_same_command(page: Page):
    page = waiting(page)
    entry = start(page, SESSION, FEW)
    assert page.jobs.stop(entry.id).state == "stopped"
    assert page.jobs.again(entry.id).arguments == entry.arguments
    assert (page.runs / "star").is_dir()  # removing it from the queue left the run alone
    with pytest.raises(InputError, match="star is being attacked already; wait until that has ended, or click Stop"):
        start(page, SESSION, FEW)


def test_an_estimate_is_the_commands_own(page: Page):
    found = estimate(page, SESSION, FEW)
    assert list(found["attacks"]) == ["named"]
    assert "<dt>Smallest budget</dt><dd>1 s, one turn of one attack</dd>" in foreseen(found)
    assert not (page.runs / "star" / "attacks").exists()


def test_the_form_becomes_the_command(page: Page, tiny_pipeline: Path):
    page = replace(page, allowed=(tiny_pipeline.parent,))
    (page.runs / "mine").mkdir()
    (page.runs / "mine" / "a.csv").write_text("prompt\na red star\n")
    wish = replace(FEW, lists="mine/a.csv\n", gold=str(tiny_pipeline), pictures="mine", options=options(3, 64, 4))
    arguments, folder = arguments_of(page, SESSION, wish)
    assert folder == page.runs / "star"
    assert arguments[2:4] == ["--attacks", "named"]
    assert arguments[4:6] == ["--lists", str((page.runs / "mine" / "a.csv").resolve())]
    rest = [f"--gold={tiny_pipeline.resolve()}", f"--pictures={(page.runs / 'mine').resolve()}", "--seed=3", "--at-once=4", "--device=cpu"]
    assert arguments[6:] == rest
    assert "--attacks" not in arguments_of(page, SESSION, replace(wish, names=[]))[0]  # a list alone
    assert arguments_of(page, SESSION, AttackRequest("star", "all"))[0][2:4] == ["--attacks", "all"]


def test_every_control_has_its_place_and_every_attack_says_what_it_assumes(page: Page):
    gr = pytest.importorskip("gradio")
    from ui.web.evidence.attack_form import AttackForm

    with gr.Blocks():
        form = AttackForm(page)
    values = {component: component.value for component in form.inputs}
    assert form.request(values) == AttackRequest(None, options={field.name: field.default for field in OPTIONS}, names=[])
    shown = [(words, name) for names in families().values() for words, name in names]
    assert sorted(name for _, name in shown) == sorted(CATALOGUE)
    assert all(CATALOGUE[name].assumes in words for words, name in shown)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"run": None}, "is not a finished run here; choose one from the list"),
        ({"run": "../star"}, "is not a finished run here; choose one from the list"),
        ({"kind": "most"}, "is not a choice of attacks; expected one of A quick round"),
        ({"names": []}, "no attack is chosen; tick one or more"),
        ({"names": ["nmed"]}, 'the attack "nmed" is unknown, did you mean "named"'),
        ({"minutes": 0}, "Budget is '0'; expected minutes, more than 0"),
        ({"minutes": None}, "Budget is 'None'; expected minutes"),
        ({"minutes": 9999}, "at most 1440"),
        ({"lists": "/etc/passwd"}, "is not a folder or file in runs; give one that is"),
        ({"lists": "star/options.json"}, "options.json"),
        ({"gold": "/etc"}, "is not a folder or file in runs; give one that is"),
        ({"gold": "star"}, "Gold standard is star; expected a folder with model_index.json"),
        ({"pictures": "star/report.json"}, "Images of it is report.json; expected a folder of images"),
        ({"options": options(0, 0, 2)}, "Attempts is 0; expected at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_remedy(page: Page, wrong: dict[str, Any], said: str):
    with pytest.raises(InputError) as found:
        start(waiting(page), SESSION, replace(FEW, **wrong))
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert not page.jobs.entries()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"names": ["random-tokens"], "minutes": 0.001, "options": options(0, 99, 99)},
            "--budget of 1 s is too small for one turn of any attack",
        ),
        ({"names": ["relearn"]}, "no attack can be made: relearn needs images of the concept"),
    ],
)
def test_what_only_the_command_can_see_is_its_message(page: Page, wrong: dict[str, Any], said: str):
    ended = page.jobs.wait(start(page, SESSION, replace(FEW, **wrong)).id, LONG)
    shown = html.unescape(head(ended, 0))
    assert ended.state == FAILED
    message = shown.partition('<p role="alert" class="problem">')[2]
    assert said.lower() in message.lower()
    assert "give more, or fewer --at-once" in message or "give some with --pictures" in message


def test_a_run_whose_original_is_gone_is_left_out_and_said_so(page: Page):
    options = json.loads((page.runs / "star" / "options.json").read_text())
    (page.runs / "star" / "options.json").write_text(json.dumps({**options, "model": str(page.runs / "moved")}))
    names, others = attackable(page, SESSION)
    assert names == []
    assert "is not available; put it back" in absent(others)
    with pytest.raises(InputError, match=r"star cannot be attacked: its original, .*moved, is not available"):
        start(waiting(page), SESSION, FEW)


def test_only_finished_runs_with_a_model_are_listed(page: Page):
    erased_run(page.runs, "half")  # no report
    measured_run(page.runs, "pictures")  # no model
    assert attackable(page, SESSION) == (["star"], {})


def test_where_strangers_see_the_page_a_run_is_attacked_by_its_owner_alone(page: Page):
    shared = replace(waiting(page), shared=True)
    anna, ben = {"visitor": "anna", "job": ""}, {"visitor": "ben", "job": ""}
    assert "it is not yours" in attackable(shared, anna)[1]["star"]  # nobody's: open to all, to be attacked by none
    claim(page.jobs.home, "star", "anna")
    assert attackable(shared, anna) == (["star"], {})
    assert attackable(shared, ben) == ([], {})
    for session in (ben, None):
        with pytest.raises(InputError, match="is not a finished run here"):
            start(shared, session, FEW)
        assert "is not a finished run here" in result(shared, session, "star", True)
    entry = start(shared, anna, FEW)
    assert job_of(shared, anna, "star") == entry
    assert job_of(shared, ben, "star") is None
    assert attackable(shared, anna) == (["star"], {})  # still hers


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_pictures_of_nudity_are_hidden_until_they_are_ticked(page: Page):
    attacked(page, detector="nudenet")
    closed, open_ = (inner(result(page, SESSION, "star", show)) for show in (False, True))
    assert 'alt="blurred: ' in closed
    assert "They are blurred." in closed
    assert "blurred" not in open_
    assert closed.partition('src="')[2].partition('"')[0] != open_.partition('src="')[2].partition('"')[0]


def test_what_broke_through_is_shown_as_text_in_a_frame_without_scripts(page: Page):
    attacked(page)
    shown = inner(result(page, SESSION, "star", False))
    assert "blurred" not in shown  # a star is no nudity
    assert "a &lt;b&gt;red&lt;/b&gt; star" in shown
    assert "+0 [-79,\u00a079]" in shown
    assert "<script" not in shown


def test_without_a_result_or_with_a_broken_one_it_is_said(page: Page):
    assert "Nothing has been attacked here yet" in result(page, SESSION, "star", False)
    assert "Create one in the tab Erase" in result(page, SESSION, None, False)
    (attacked(page) / "attacks" / "report.json").write_text("{")
    assert 'role="alert"' in result(page, SESSION, "star", False)
    assert "attack it again" in result(page, SESSION, "star", False)


def test_progress_is_attack_by_attack(page: Page):
    folder = page.runs / "star" / "attacks"
    entry = Entry("1", "attack star", ("attack",), str(folder), state=RUNNING, started=1.0)
    assert "Starting: the models" in head(entry, 0)
    note(folder, Standing("prefix", 60.0, 300.0, {"named": (64, 64), "prefix": (8, 64), "relearn": (0, 64)}), "gold")
    said = head(entry, 0)
    assert "prefix, on the model trained without it." in said
    assert '<li class=done><span aria-hidden="true">✓</span> named <span class=right>64 of 64 attempts</span></li>' in said
    assert '<li class=now><span aria-hidden="true">▸</span> prefix <span class=right>8 of 64 attempts</span></li>' in said
    assert "<li class=later>" in said
    assert 'max="300"' in said
    assert "Starting" in head(replace(entry, started=2e10), 0)  # what an earlier job left says nothing
    assert "2 jobs are before this one." in head(replace(entry, state=WAITING), 2)
    (folder / STANDING).write_text("{")
    assert "Starting" in head(entry, 0)


def test_the_tab_erase_shows_it_in_the_queue_and_not_as_an_erasure(page: Page):
    entry = start(waiting(page), SESSION, FEW)
    assert (choices(page, SESSION), watched(page, SESSION)) == ([], None)
    assert "attack star: named, 5 min: queued" in queue(page, SESSION)
    assert entry.run == page.runs / "star"


def test_what_is_chosen_says_what_each_does_and_what_the_attacker_has():
    assert planned("quick", []).count("<tr>") == 1 + len(QUICK)
    assert planned("all", []).count("<tr>") == 1 + len(CATALOGUE)
    assert '<th scope="row">quantise</th><td>weights rounded to 8 and to 4 bits</td><td>the weights</td>' in planned("some", ["quantise"])
    assert "No attack is chosen yet" in planned("some", [])


def test_the_box_against_blur_is_there_only_where_something_is_blurred(page: Page):
    assert not covered(page.runs / "star")
    assert not covered(attacked(page))
    assert covered(attacked(page, detector="nudenet"))
    (page.runs / "star" / "attacks" / "report.json").write_text("{")
    assert not covered(page.runs / "star")


def test_what_was_there_before_an_attack_does_not_stand_beside_it(page: Page):
    gr = pytest.importorskip("gradio")
    from ui.web.evidence.attack_tab import AttackTab

    page = waiting(page)
    with gr.Blocks():
        tab = AttackTab(page)
    assert "Nothing has been attacked here yet" in tab.refresh(SESSION, "star", False, ())[tab.frame]
    start(page, SESSION, FEW)
    changes = tab.refresh(SESSION, "star", False, ("star", False, 0, False))
    assert (changes[tab.frame], changes[tab.sent]) == ("", ("star", False, 0, True))
    assert tab.frame not in tab.refresh(SESSION, "star", False, changes[tab.sent])
    attacked(page)
    assert "iframe" in tab.refresh(SESSION, "star", False, changes[tab.sent])[tab.frame]
