"""Evidence: reports rendered in a frame, runs side by side, measurements that only name what the page lists."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from page_runs import measured_run, report

from erase.errors import InputError
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.evidence.handlers import (
    MeasurementRequest,
    compared,
    folder_of,
    images_done,
    measure,
    measured,
    protocol_choices,
    protocol_words,
    report_frame,
    reported,
)
from ui.web.jobs.queue import Jobs
from ui.web.security.owners import claim, of_others

pytest.importorskip("gradio")
from ui.web.evidence.tab import one, several


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"))  # the worker is not started


def test_a_report_is_shown_in_a_frame_without_scripts(page):
    folder = measured_run(page.runs, "star-1")
    (folder / "report.html").write_text("<script>alert('not ours')</script>")
    shown = report_frame(page, "star-1", False)
    assert shown.startswith('<iframe class="frame" sandbox title="Report of star-1" srcdoc="')
    inner = html.unescape(shown.partition('srcdoc="')[2])
    assert "not ours" not in inner  # rendered from the numbers
    assert "a drawing of a red star" in inner
    assert "<script" not in inner


def test_a_newer_report_is_read(page):
    folder = measured_run(page.runs, "star-1", concept="star")
    before = report_frame(page, "star-1", False)
    (folder / "report.json").write_text(json.dumps(report(12.0)))
    assert report_frame(page, "star-1", False) != before


def test_a_table_of_several_methods_is_no_report_of_a_run(page):
    folder = measured_run(page.runs, "star-1")
    bench = page.runs / "bench-demo-star"
    bench.mkdir()
    (bench / "options.json").write_bytes((folder / "options.json").read_bytes())
    (bench / "report.json").write_text('{"protocol": {}, "methods": []}')
    assert reported(page) == ["star-1"]


def test_pictures_of_nudity_are_blurred_until_they_are_asked_for(page):
    folder = measured_run(page.runs, "nude-1")
    found = json.loads((folder / "report.json").read_text())
    found["protocol"]["detector"]["name"] = "nudenet"
    (folder / "report.json").write_text(json.dumps(found))
    closed, open_ = (html.unescape(report_frame(page, "nude-1", show)) for show in (False, True))
    assert "original, blurred: a drawing of a red star" in closed
    assert "blurred" not in open_


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", None, "star-2", "<b>"])
def test_only_what_is_listed_is_opened(page, name):
    measured_run(page.runs, "star-1")
    with pytest.raises(InputError, match="is not a finished run here"):
        folder_of(page, name)
    assert "<b>" not in one(page, name, False) or not name


def test_several_runs_stand_in_one_table_and_one_picture(page):
    for name, ua in (("star-1", 90.0), ("star-2", 40.0)):
        measured_run(page.runs, name, ua)
    assert set(reported(page)) == {"star-1", "star-2"}
    table, links, charts = several(page, ["star-1", "star-2"])
    assert "0.0 → 90.0<br><small>[85.0, 95.0]</small>" in table
    assert table.count("<tr>") == 3
    assert charts.count("<svg") == 3  # the scatter, and a chart of exposed parts for each run
    assert "Buttocks: 9 before, 1 after" in charts
    key = links.partition('href="keep/')[2].partition("/")[0]
    assert page.downloads.file(key, "runs.csv").startswith(b"run,folder,concept")
    assert several(page, [])[1:] == ("", "")


def test_runs_with_other_protocols_are_marked(page):
    measured_run(page.runs, "star-1")
    other = measured_run(page.runs, "star-2")
    found = json.loads((other / "report.json").read_text())
    found["protocol"]["steps"] = 50
    (other / "report.json").write_text(json.dumps(found))
    assert "not comparable across letters" in several(page, ["star-1", "star-2"])[0]
    assert "steps: 50, not 3" in several(page, ["star-1", "star-2"])[0]


def test_too_many_runs_and_broken_ones_are_said_so(page):
    measured_run(page.runs, "star-1")
    (page.runs / "star-1" / "report.json").write_text("{")
    assert 'role="alert"' in several(page, ["star-1"])[0]
    assert 'role="alert"' in one(page, "star-1", False)
    with pytest.raises(InputError, match="at most 12"):
        compared(page, ["star-1"] * 13)


def test_a_measurement_names_a_listed_run_and_a_named_protocol(page):
    measured_run(page.runs, "star-1")
    page.jobs.close()  # the queue takes it, nobody runs it
    entry = measure(page, MeasurementRequest("star-1", "demo", "", 9), "v")
    assert entry.arguments == ("evaluate", str(page.runs / "star-1"), "--device", "auto", "--protocol", "demo", "--output", entry.output)
    assert entry.output == str(page.runs / "star-1-demo")
    assert measured(page, entry.id)[1]
    own = measure(page, MeasurementRequest("star-1", "", "", 9), "v")
    assert own.arguments[4:6] == ("--count", "9")
    for run, protocol, prompts in (("../x", "demo", ""), ("star-1", "/etc/passwd", ""), ("star-1", "demo", "/etc/passwd")):
        with pytest.raises(InputError):
            measure(page, MeasurementRequest(run, protocol, prompts, 9), "v")


def test_where_strangers_see_the_page_reports_are_their_owners_alone(page):
    for name, owner in (("annas-1", "anna"), ("bens-1", "ben")):
        measured_run(page.runs, name)
        claim(page.jobs.home, name, owner)
    page.jobs.close()
    ben = replace(page, shared=True).seen_by("ben")
    assert reported(ben) == ["bens-1"]
    for name in ("annas-1", "../annas-1"):
        with pytest.raises(InputError, match="is not a finished run here"):
            report_frame(ben, name, False)
    assert "annas" not in several(ben, ["annas-1", "bens-1"])[0].replace("&#x27;annas-1&#x27; is not a finished run", "")
    with pytest.raises(InputError):
        measure(ben, MeasurementRequest("annas-1", "demo", "", 9), "ben")
    entry = measure(ben, MeasurementRequest("bens-1", "demo", "", 9), "ben")
    assert of_others(page.jobs.home, "anna") == ("bens-1", Path(entry.output).name)


def test_a_protocol_says_what_it_fixes_and_whether_it_needs_a_file():
    assert ("demo" in [value for _, value in protocol_choices()]) is True
    words, brought = protocol_words("i2p-nudity")
    assert brought
    assert "steps" in words
    assert protocol_words("demo")[1] is False
    assert protocol_words("") == ("", False)


def test_progress_is_read_from_the_evaluations_folder(page):
    folder = measured_run(page.runs, "star-1")
    (folder / "samples" / "after" / "manifest.jsonl").unlink()
    assert images_done(folder) == (3, 6)
    assert images_done(page.runs / "absent") == (0, 0)
    assert measured(page, "nobody") == ("", False)
