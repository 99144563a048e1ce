"""A job as the page shows it: progress is that of the folder, what is written there is escaped, images are blurred by default."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from page_runs import OPTIONS, measured_run, report
from PIL import Image

from erase.concepts.english import spoken_duration
from erase.methods import make_method
from erase.pipeline.plan import make_plan, write_plan
from erase.run import Run, append_lines
from ui.progress import STAGES, preview, read_progress, seconds_left
from ui.web.erase.view import NOTHING, clock, queue_list, shown_share, strip, view
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STOPPED, WAITING, Entry
from ui.web.units import estimated, size

COUNTS = {"forget_count": 4, "retain_count": 6, "evaluate_count": 2, "sampling_steps": 5, "guidance": 4.0, "sampling_batch": 2}
METHOD = {"steps": 10, "batch": 2, "unlearn": "anchor", "anchor_pictures": True, "sensitivity_batches": 3}
PLAN = make_plan(
    ("star", "red"), make_method("scissorhands", steps=10, batch=2).requirements, generated={"forget": 8, "retain": 6, "anchor": 8},
    provided={}, samples=5, sampling_steps=5, guidance=4.0,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Run.open(tmp_path / "star-1", {**OPTIONS, **COUNTS, "method_options": METHOD}):
        write_plan(tmp_path / "star-1", PLAN)
        return tmp_path / "star-1"


def entry(folder: Path, state: str, **more: object) -> Entry:
    return Entry("1", "star from demo", (), str(folder), state=state, started=time.time() - 10, **more)  # type: ignore[arg-type]


def draw(folder: Path, steps: tuple[int, ...]) -> None:
    (folder / "preview").mkdir()
    append_lines(folder / "preview" / "prompts.jsonl", [{"prompt": "a star"}, {"prompt": "a <b>ring</b>"}])
    for step in steps:
        for i in range(2):
            Image.effect_noise((64, 64), 90).save(folder / "preview" / f"{step:05d}-{i}.png")


def test_nothing_is_there_yet(tmp_path):
    assert read_progress(tmp_path) is None
    assert read_progress(tmp_path / "none") is None
    assert view(None, 0, False).head == NOTHING
    assert "starts next" in view(entry(tmp_path / "x", WAITING), 0, False).head


def test_stages_count_what_the_folder_holds(folder):
    append_lines(folder_made(folder / "images" / "forget") / "manifest.jsonl", [{"file": "0"}] * 3)
    progress = read_progress(folder)
    assert [stage.name for stage in progress.stages] == list(STAGES)
    assert (progress.stages[0].done, progress.stages[0].total) == (3, 22)  # of the engine's plan: two concepts, anchor images
    assert progress.current.name == "images"
    with Run.open(folder, Run.read(folder).options) as run:
        for name in ("images", "before", "latents"):
            run.complete(name, seconds=2.0)
        for step in range(1, 6):
            run.append_step({"step": step, "retain_loss": 0.1, "unlearn_loss": 0.2, "cosine": 0.1, "projected": step == 1})
    later = read_progress(folder)
    assert (later.current.name, later.current.done, later.current.total, later.projected) == ("erase", 5, 10, 0.2)
    assert progress.share < later.share < 1
    assert later.share == PLAN.share({"images": 1, "before": 1, "latents": 1, "erase": 0.5})


def test_a_run_of_an_earlier_version_has_no_plan_and_counts_stages(folder):
    (folder / "plan.json").unlink()
    with Run.open(folder, Run.read(folder).options) as run:
        run.complete("images", seconds=2.0)
    append_lines(folder_made(folder / "samples" / "before") / "manifest.jsonl", [{"file": "0"}] * 3)
    progress = read_progress(folder)
    assert (progress.share, progress.current.done, progress.current.total) == (1 / 7, 3, 0)
    assert "<span class=right>3</span>" in view(entry(folder, RUNNING), 0, False).stages


def folder_made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_an_evaluation_is_no_job_of_these_stages(tmp_path):
    assert read_progress(measured_run(tmp_path, "x", method_options=None)) is None


def test_time_left_is_at_the_pace_since_the_start(folder):
    with Run.open(folder, Run.read(folder).options) as run:
        for name in ("images", "before", "latents", "erase"):
            run.complete(name, seconds=2.0)
    progress = read_progress(folder)
    whole = seconds_left(progress, 0.0, 60.0)
    assert whole == pytest.approx(60.0 * (1 - progress.share) / progress.share)
    assert seconds_left(progress, progress.share / 2, 60.0) == pytest.approx(2 * whole)  # half of it was done by an earlier start
    assert seconds_left(progress, progress.share, 60.0) is None


def test_until_there_is_a_pace_the_time_left_is_that_of_the_estimate(folder):
    early = entry(folder, RUNNING, expected=100.0)
    assert clock(entry(folder, RUNNING, expected=310.0), None) == "10 s so far, about 5 min left, by the estimate"
    assert "longer than was estimated" in clock(entry(folder, RUNNING, expected=5.0), None)
    assert "not known yet" in clock(entry(folder, RUNNING), None)
    assert shown_share(early, None) == pytest.approx(0.1, abs=0.01)
    assert shown_share(entry(folder, RUNNING, expected=11.0), read_progress(folder)) == pytest.approx(0.1)  # no further than a guess may go
    title = view(early, 0, False).head
    assert 'data-title="10 % · star from demo"' in title
    assert "by the estimate" in title


def test_only_what_erases_is_a_job_of_this_tab():
    assert Entry("1", "", ("--concept=star",), "a").erases
    assert not Entry("1", "", ("evaluate", "a"), "a").erases
    assert not Entry("1", "", ("attack", "a"), "a").erases


@pytest.mark.parametrize(
    ("state", "flags"), [(WAITING, (True, False, False)), (RUNNING, (True, False, False)), (STOPPED, (False, True, False)),
                         (FAILED, (False, True, False)), (DONE, (False, False, True))],
)  # fmt: skip
def test_what_may_be_pressed_follows_from_the_state(folder, state, flags):
    (folder / "report.json").write_text(json.dumps(report(100.0)))
    seen = view(entry(folder, state), 0, False)
    assert (seen.can_stop, seen.can_resume, seen.finished) == flags
    assert seen.active == (state in (WAITING, RUNNING))


def test_a_finished_job_has_its_verdict(folder):
    (folder / "report.json").write_text(json.dumps(report(100.0)))
    assert "Is “star” gone?" in view(entry(folder, DONE), 0, False).verdict
    (folder / "report.json").write_text("{")
    assert view(entry(folder, DONE), 0, False).verdict == ""


def test_whatever_a_process_or_a_visitor_wrote_is_escaped(folder):
    bad = "<script>alert(1)</script>"
    seen = view(entry(folder, FAILED, message=bad), 0, False)
    named = view(Entry("1", bad, (), str(folder), state=RUNNING, started=time.time()), 0, False)
    assert "<script>" not in seen.head + named.head + queue_list([Entry("1", bad, (), "")], lambda entry: True)
    draw(folder, (0,))
    assert "<b>ring" not in strip(folder, True)


def test_pictures_on_the_way_are_blurred_unless_asked_for_or_of_the_embedded_world(folder, tmp_path):
    draw(folder, (0, 10, 20))
    prompts, found = preview(folder)
    assert (prompts, list(found)) == (["a star", "a <b>ring</b>"], [0, 10, 20])
    hidden, shown = strip(folder, False), strip(folder, True)
    assert hidden.count("<img") == shown.count("<img") == 8  # of two prompts: three steps, and the last once more, large
    assert set(sources(hidden)).isdisjoint(sources(shown))
    assert ("blurred" in hidden, "blurred" in shown) == (True, False)
    own = view(entry(folder, RUNNING), 0, False)
    assert (own.covered, own.pictures) == (False, shown)
    options = {**OPTIONS, **COUNTS, "method_options": METHOD, "model": "OWNER/NAME"}
    with Run.open(tmp_path / "other", options):
        draw(tmp_path / "other", (0,))
    other = view(entry(tmp_path / "other", RUNNING), 0, False)
    assert (other.covered, "Blurred" in other.pictures) == (True, True)
    assert "Blurred" not in view(entry(tmp_path / "other", RUNNING), 0, True).pictures


def sources(html: str) -> list[str]:
    return [part.split('"')[0] for part in html.split('src="')[1:]]


def test_many_steps_are_thinned_to_a_strip_with_the_first_and_the_last(folder):
    draw(folder, tuple(range(0, 101, 5)))
    shown = strip(folder, True)
    assert shown.count("<img") == 2 * (9 + 1)
    assert "original" in shown
    assert "step 100" in shown


def test_a_picture_that_is_half_there_does_not_end_the_page(folder):
    draw(folder, (0,))
    (folder / "preview" / "00010-0.png").write_bytes(b"\x89PNG")
    assert strip(folder, True).count("<img") == 3


def test_the_queue_names_only_the_visitors_own(folder):
    jobs = [Entry("1", "mine", (), "a", "anna", RUNNING), Entry("2", "theirs", (), "b", "bert"), Entry("3", "old", (), "c", "anna", DONE)]
    said = queue_list(jobs, lambda entry: entry.owner == "anna")
    assert ("mine" in said, "theirs" in said, "old" in said, said.count("<li>")) == (True, False, False, 2)
    assert "2 jobs are before this one; the first of them needs about 2 min more" in view(entry(folder, WAITING), 2, False, 120.0).head


def test_amounts_as_people_say_them():
    assert [spoken_duration(s) for s in (0.2, 89, 150, 7260)] == ["1 s", "89 s", "2 min", "2 h 01 min"]
    assert [size(5 * 2**20), size(3 * 2**30), size(None)] == ["5 MiB", "3.0 GiB", "unknown"]
    assert "unknown" in estimated(None)
    said = estimated({"seconds": 150, "memory": "about <1 GB", "disk_bytes": 2**30})
    assert ("about 2 min" in said, "&lt;1 GB" in said, "1.0 GiB" in said) == (True, True, True)
