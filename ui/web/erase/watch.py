"""Whose jobs a visitor sees, which of them is shown, and the presses on it. Plain functions; knows no gradio.

Where strangers see the page, a job belongs to the browser that started it; a browser shows that by a name nobody can guess.
Where only the owner of the machine sees it, every job is theirs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.view import View, line, view
from ui.web.jobs.entry import RUNNING, Entry
from ui.web.jobs.progress import read_progress, seconds_left
from ui.web.visitor import _owns, own, seated

"""What a browser remembers: `visitor`, its name, and `job`, the one it looks at."""


def watched(page: Page, seat: Any) -> Entry | None:
    """The job that is shown: the one that was chosen, else one that is active, else the newest."""
    mine = _listed(page, seat)
    chosen = [entry for entry in mine if entry.id == seated(seat)["job"]]
    return next(iter([*chosen, *(entry for entry in mine if entry.active), *mine]), None)


def choices(page: Page, seat: Any) -> list[tuple[str, str]]:
    """The visitor's jobs as (words, id)."""
    return [(f"{entry.name}, {entry.state}", entry.id) for entry in _listed(page, seat)]


def look(page: Page, seat: Any, show: bool) -> View:
    """The shown job as it stands."""
    entry = watched(page, seat)
    ahead = page.jobs.ahead(entry.id) if entry else 0
    return view(entry, ahead, show, _wait(page) if ahead else None)


def queue(page: Page, seat: Any) -> str:
    """The line, with the names of the visitor's own jobs."""
    return line(page.jobs.entries(), lambda entry: _owns(page, seat, entry))


def stop(page: Page, seat: Any) -> None:
    """Stop the shown job."""
    page.jobs.stop(_mine(page, seat).id)


def again(page: Page, seat: Any) -> None:
    """Put the shown job into the line once more."""
    page.jobs.again(_mine(page, seat).id)


def run_of(page: Page, seat: Any) -> Path:
    """The run folder of the shown job."""
    return Path(_mine(page, seat).output)


def _listed(page: Page, seat: Any) -> list[Entry]:
    """Attacks are watched where they are started."""
    return [entry for entry in own(page, seat) if not entry.attacks]


def _mine(page: Page, seat: Any) -> Entry:
    entry = watched(page, seat)
    if entry is None:
        raise InputError("there is no job of yours; press Start erasing first")
    return entry


def _wait(page: Page) -> float | None:
    """What the running job still needs."""
    running = next((entry for entry in page.jobs.entries() if entry.state == RUNNING), None)
    progress = read_progress(Path(running.output)) if running else None
    return seconds_left(progress, running.head, time.time() - running.started) if running and progress else None
