"""The shelf: every run folder with what is known of it, names and notes, deleting, and who may."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from page_runs import erased_run, measured_run

from erase.errors import InputError
from erase.files.locks import locked_folder
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.jobs.queue import Jobs
from ui.web.security.owners import claim
from ui.web.shelf.cards import EMPTY, NO_MATCH, shelf
from ui.web.shelf.gallery import NONE, gallery
from ui.web.shelf.handlers import delete, deletion, rename, users
from ui.web.shelf.listing import chosen, folder_size, shelved, shelved_run
from ui.web.shelf.pictures import strip

pytest.importorskip("gradio")
ANNA, BEN = {"visitor": "anna", "job": ""}, {"visitor": "ben", "job": ""}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"))  # the worker is not started


def dated(folder: Path, seconds: float) -> Path:
    for path in folder.glob("*.json"):
        os.utime(path, (seconds, seconds))
    return folder


def names(page: Page, *how: str, session: object = None) -> list[str]:
    return [run.name for run in chosen(shelved(page, session), *how)]


def test_every_run_is_on_the_shelf_whoever_made_it(page):
    dated(measured_run(page.runs, "star-1"), 100)
    dated(erased_run(page.runs, "demo-star"), 300)  # as make demo leaves it, but not measured
    dated(measured_run(page.runs, "star-1-again", kind="evaluation", erased=str(page.runs / "star-1")), 200)
    runs = {run.name: run for run in shelved(page, None)}
    assert list(runs) == ["demo-star", "star-1-again", "star-1"]
    assert [run.state for run in runs.values()] == ["not finished", "finished", "finished"]
    assert (runs["star-1"].concept, runs["star-1"].model, runs["star-1"].how) == ("star", "demo", "scissorhands, balanced")
    assert [runs[name].has_model for name in ("demo-star", "star-1")] == [True, False]
    html = shelf(list(runs.values()), 3, False)
    assert html.count("<li>") == 3
    assert 'href="?run=star-1" data-run="star-1"' in html
    assert "measurement" in html
    assert "<dt>Gone</dt><dd>Yes</dd>" in html  # 100 % [95, 100] of pictures
    assert "<dt>Holds</dt><dd>Not tried</dd>" in html


def test_filters_words_and_orders_choose(page):
    dated(measured_run(page.runs, "a-1", 100.0), 100)
    dated(measured_run(page.runs, "b-1", 40.0), 200)
    dated(measured_run(page.runs, "m-1", kind="evaluation"), 300)
    assert names(page, "", "finished", "oldest") == ["a-1", "b-1"]
    assert names(page, "", "measurements") == ["m-1"]
    assert names(page, "STAR scissor", "all", "name") == ["a-1", "b-1", "m-1"]
    assert names(page, "heart") == []
    assert names(page, "", "finished", "verdict") == ["a-1", "b-1"]  # "is still there" comes last
    (page.runs / "b-1" / "large.bin").write_bytes(bytes(3_000_000))
    dated(page.runs / "b-1", 201)
    assert names(page, "", "all", "size")[0] == "b-1"
    assert names(page, "", "no such filter", "no such order") == ["m-1", "b-1", "a-1"]
    assert shelf([], 3, False) == NO_MATCH
    assert shelf([], 0, False) == EMPTY


def test_attacks_enter_the_verdict(page):
    folder = measured_run(page.runs, "star-1")
    (folder / "attacks").mkdir()
    row = {"attack": "partial", "subjects": {"erased": {"success": {"value": 94.0, "low": 80.0, "high": 98.0, "n": 16}}}}
    (folder / "attacks" / "report.json").write_text(json.dumps({"attacks": [row]}))
    assert "<dt>Holds</dt><dd>No</dd>" in shelf(shelved(page, None), 1, False)


def test_a_name_and_a_note_are_kept_in_the_folder_which_stays(page):
    folder = measured_run(page.runs, "star-1")
    rename(page, None, "star-1", "  My <b>star</b>  ", "for the\ntalk")
    run = shelved_run(page, None, "star-1")
    assert (run.name, run.title, run.label.note) == ("star-1", "My <b>star</b>", "for the\ntalk")
    html = shelf([run], 1, False)
    assert "My &lt;b&gt;star&lt;/b&gt;" in html
    assert "folder star-1" in html
    assert names(page, "talk my") == ["star-1"]
    rename(page, None, "star-1", "star-1", "")
    assert shelved_run(page, None, "star-1").title == "star-1"
    for title, note in (("x" * 81, ""), ("", "x" * 2001)):
        with pytest.raises(InputError, match="expected at most"):
            rename(page, None, "star-1", title, note)
    (folder / "shelf.json").write_text("[1")
    assert shelved_run(page, None, "star-1").title == "star-1"


def test_deleting_says_what_goes_and_how_much_room_it_frees(page):
    folder = measured_run(page.runs, "star-1")
    measured_run(page.runs, "star-2", model=str(folder / "model"))
    (folder / "model").mkdir()
    (folder / "model" / "weights.bin").write_bytes(bytes(5 * 2**20))
    words = deletion(page, None, "star-1")
    assert "The folder star-1 (the erased model, its pictures, its numbers) goes, and 5 MiB are free again." in words
    assert "1 other run was made from it: star-2." in words
    assert users(page, None, shelved_run(page, None, "star-1")) == ["star-2"]
    assert folder.is_dir()
    assert "5 MiB" in delete(page, None, "star-1")
    assert not folder.exists()
    assert [path.name for path in page.runs.iterdir() if path.name != ".ui"] == ["star-2"]
    with pytest.raises(InputError, match="is not a run here"):
        delete(page, None, "star-1")


def test_a_run_that_is_being_worked_on_is_not_deleted(page):
    folder = measured_run(page.runs, "star-1")
    page.jobs.close()  # the queue takes it, nobody runs it
    entry = page.jobs.add(["attack", str(folder)], folder / "attacks", "attack star-1")
    for act in (deletion, delete):
        with pytest.raises(InputError, match="a job is working on star-1"):
            act(page, None, "star-1")
    page.jobs.stop(entry.id)
    assert deletion(page, None, "star-1")
    with locked_folder(folder, "busy"), pytest.raises(InputError, match="another process is working on star-1"):
        delete(page, None, "star-1")
    assert folder_size(folder) > 0


def test_where_strangers_see_the_page_a_run_is_changed_by_its_owner_alone(page):
    for name, owner in (("annas-1", "anna"), ("bens-1", "ben"), ("open-1", "")):
        measured_run(page.runs, name)
        claim(page.jobs.home, name, owner)
    shared = replace(page, shared=True)
    assert sorted(names(shared, session=BEN)) == ["bens-1", "open-1"]
    assert [run.mine for run in sorted(shelved(shared, BEN), key=lambda run: run.name)] == [True, False]
    for act in (lambda name: rename(shared, BEN, name, "x", ""), lambda name: delete(shared, BEN, name)):
        with pytest.raises(InputError, match="is not a run here"):
            act("annas-1")
        with pytest.raises(InputError, match="is not yours"):
            act("open-1")
    delete(shared, BEN, "bens-1")
    assert not (page.jobs.home / "owners" / "bens-1").exists()
    assert sorted(names(shared, session=ANNA)) == ["annas-1", "open-1"]


def test_the_strip_is_of_the_runs_own_pictures_and_blurred_where_they_may_be_explicit(page):
    folder = measured_run(page.runs, "star-1")
    plain, hidden = strip(folder, False), strip(folder, True)
    assert plain[0].startswith("data:image/webp;base64,")
    assert plain[0] == hidden[0]  # of one colour, so that a blur changes nothing
    assert "a drawing of a red star; a red circle" in plain[1]
    assert "blurred" in hidden[1]
    assert strip(erased_run(page.runs, "demo-star"), False) is None
    nude = shelved_run(page, None, measured_run(page.runs, "nude-1", concept="nudity").name)
    assert nude.sensitive
    assert "blurred" in shelf([nude], 1, False)
    assert "blurred" not in shelf([nude], 1, True)


def test_the_pictures_of_a_run_are_there_to_be_enlarged(page):
    html = gallery(measured_run(page.runs, "star-1"), False)
    assert html.count("<button") == 3
    assert html.count("<img") == 6
    assert 'aria-label="enlarge: a drawing of a red star"' in html
    assert gallery(erased_run(page.runs, "demo-star"), False) == NONE


def test_every_way_through_the_tab_changes_only_what_its_events_name(page):
    """Of the whole page as it is built: the shelf, a run's page, another name, deleting; an address of nothing."""
    from ui.web.page import build
    from ui.web.shelf.tab import RunsTab

    measured_run(page.runs, "star-1")
    erased_run(page.runs, "demo-star")
    tabs: list[RunsTab] = []
    constructed = RunsTab.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunsTab, "__init__", lambda tab, page: tabs.append(tab) or constructed(tab, page))
        build(page)
    (tab,) = tabs
    outputs, run = set(tab._outputs), tab.run
    for address in (None, "", "star-1", "demo-star"):
        changes = tab.open(address, "", None, False)
        assert set(changes) <= outputs
        assert (tab.frame.tabs in changes) == (address is not None)
        assert changes[run.name] == (address or "")
    missing = tab.open("../star-1", "", None, False)
    assert "is not a run here" in missing[tab.said].value
    assert missing[run.name] == ""
    assert set(run.rename(None, "star-1", "My star", "")) <= set(run.outputs)
    assert "My star" in tab.list_runs(None, "my", "all", "newest", False)
    recalled = run.recall(None, "star-1")
    assert recalled[run.form.model] == "demo"
    assert recalled[run.form.options.of["scissorhands"]["steps"]] == 3
    assert recalled[run.form.concept].value == "star"
    assert "{concept}" in recalled[run.form.texts["forget"]]
    assert set(recalled) <= {run.tabs, run.problem, *run.form.followers, run.form.model, run.form.options.method}
    assert "Delete My star?" in run.ask(None, "star-1")[1]
    assert run.delete(None, "star-1")[2] == "star-1"
    assert run.delete(None, "star-1")[2] == ""
    page.jobs.close()
    tick = run.measuring.show(None, shelved_run(page, None, "demo-star"))
    assert set(tick) <= set(run.measuring.outputs)
    assert set(run.take_away.choose(None, "demo-star", "comfyui")) <= set(run.take_away.outputs)
