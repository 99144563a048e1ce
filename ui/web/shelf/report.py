"""The report of a run in frames of the page, rendered from its numbers and images: what somebody has put into report.html is not shown.

No script runs in a frame. It has the page's own origin all the same, so that the page can measure its height and tell it its colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object
from erase.run import Run, read_lines
from eval.attacks.report_section import section
from eval.measurement.report_file import read_report
from eval.rendering.html import command, framed, numbers_page, page, protocol_page, shows_nudity
from eval.samples import WHICH, read_prompts, samples_of
from ui.web.drawing.downloads import Document, Downloads
from ui.web.messages import problem

NO_REPORT = "<p class=muted>Nothing was measured here yet.</p>"
NO_ATTACKS = "<p class=muted>Nothing has been attacked here yet.</p>"
PARTS = ("whole", "numbers", "protocol", "attacks")


def frame(folder: Path, part: str, show: bool) -> str:
    """A part of a run's report in a frame, or why there is none; nudity is blurred unless `show`."""
    try:
        text = report_text(folder, part, show)
    except InputError as error:
        return problem(error)
    if not text:
        return NO_ATTACKS if part == "attacks" else NO_REPORT
    title = f"{part} of {folder.name}"
    return f'<iframe class="fitted" sandbox="allow-same-origin" title="{escape(title)}" srcdoc="{escape(text)}"></iframe>'


def report_text(folder: Path, part: str, show: bool) -> str:
    """A part of a run's report as a page; empty where there is none. InputError for a report that cannot be read."""
    attacks = folder / "attacks" / "report.json"
    needed = attacks if part == "attacks" else folder / "report.json"
    if not needed.is_file() or (part != "attacks" and not (folder / "samples" / "prompts.jsonl").is_file()):
        return ""
    stamps = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in (folder / "report.json", attacks))
    try:
        return _text(folder, part, stamps, bool(show))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError) and part != "attacks":  # which says what to do
            raise
        what, remedy = ("attacks on", "attack it again") if part == "attacks" else ("report of", "evaluate that run again")
        raise InputError(f"the {what} {folder.name} cannot be read ({type(error).__name__}: {error}); {remedy}") from None


@lru_cache(maxsize=16)
def _text(folder: Path, part: str, stamps: tuple[int, ...], show: bool) -> str:
    """As `report_text`; `stamps` are the versions of its files, so that a newer one is read."""
    if part == "attacks":
        return _attacks(folder, show)
    report, run = read_report(folder / "report.json"), Run.read(folder)
    repeat = command(report, run.options)
    if part == "protocol":
        return protocol_page(report, repeat)
    rows = read_prompts(folder)
    images = {which: samples_of(run, which, rows) for which in WHICH}
    records, steps = read_lines(folder / "records.jsonl"), read_lines(folder / "stats.jsonl")
    if part == "numbers":
        return numbers_page(report, rows, images, show, records, steps)
    return page(report, rows, images, show, records, steps, repeat, [section(folder, shows_nudity(report) and not show)])


def attack_reports(folder: Path) -> list[dict[str, Any]]:
    """The report of the attacks on a run, and the run's own."""
    return [read_object(path) for path in (folder / "attacks" / "report.json", folder / "report.json") if path.is_file()]


def _attacks(folder: Path, show: bool) -> str:
    hide = not show and any(map(shows_nudity, attack_reports(folder)))
    return framed(f"Attacks on {folder.name}", "", "", [section(folder, hide)], bare=True)


# --- the whole report as a file ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReportFile(Document):
    """The whole report under a key, made when it is asked for."""

    make: Callable[[bool], str] = field(default=lambda show: "", repr=False)

    def file(self, name: str, show: bool) -> bytes | None:
        """The page, by its name only; None where there is none any more."""
        try:
            text = self.make(show) if name == self.name else ""
        except InputError:
            return None
        return text.encode("utf-8", errors="replace") or None


def links(downloads: Downloads, folder: Path, show: bool, instead_of: str) -> tuple[str, str]:
    """Links to the whole report as HTML, and the key under which it is offered; `instead_of`: that of the run shown before."""
    if not (folder / "report.json").is_file() or not (folder / "samples" / "prompts.jsonl").is_file():
        return "", ""

    def make(shown: Any) -> str:
        return report_text(folder, "whole", bool(shown))

    key, query = downloads.put(ReportFile("report.html", b"", make), instead_of), "?show=1" if show else ""
    address = f"keep/{key}/report.html{query}"
    save = f'<a class=file href="{address}" download="{escape(folder.name)}.html">Download the report</a>'
    return f'<a class=file href="{address}" target="_blank" rel="noopener">Open the report in its own tab</a>{save}', key
