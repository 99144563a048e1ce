"""Evidence: runs side by side, of which only those are opened that the page lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from page_runs import measured_run

from erase.errors import InputError
from ui.web.context import Page
from ui.web.drawing.queue import Drawing
from ui.web.evidence.handlers import compared, folder_of, reported
from ui.web.jobs.queue import Jobs
from ui.web.security.owners import claim

pytest.importorskip("gradio")
from ui.web.evidence.tab import several


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, Drawing("cpu"))  # the worker is not started


def test_a_table_of_several_methods_is_no_report_of_a_run(page):
    folder = measured_run(page.runs, "star-1")
    bench = page.runs / "bench-demo-star"
    bench.mkdir()
    (bench / "options.json").write_bytes((folder / "options.json").read_bytes())
    (bench / "report.json").write_text('{"protocol": {}, "methods": []}')
    assert reported(page) == ["star-1"]


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", None, "star-2", "<b>"])
def test_only_what_is_listed_is_opened(page, name):
    measured_run(page.runs, "star-1")
    with pytest.raises(InputError, match="is not a finished run here"):
        folder_of(page, name)
    assert "<b>" not in several(page, [name or "x"])[0]


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
    with pytest.raises(InputError, match="at most 12"):
        compared(page, ["star-1"] * 13)


def test_where_strangers_see_the_page_reports_are_their_owners_alone(page):
    for name, owner in (("annas-1", "anna"), ("bens-1", "ben")):
        measured_run(page.runs, name)
        claim(page.jobs.home, name, owner)
    ben = replace(page, shared=True).seen_by("ben")
    assert reported(ben) == ["bens-1"]
    assert "annas" not in several(ben, ["annas-1", "bens-1"])[0].replace("&#x27;annas-1&#x27; is not a finished run", "")
