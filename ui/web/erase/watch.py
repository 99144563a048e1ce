"""Which of a visitor's jobs is shown, and the buttons for it. Plain functions, without gradio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.progress import read_progress, seconds_left
from ui.web.context import Page
from ui.web.erase.view import View, queue_list, view
from ui.web.jobs.entry import RUNNING, STATES, Entry
from ui.web.visitor import own_jobs, owns, session_of


def watched(page: Page, session: Any) -> Entry | None:
    """The job that is shown: the chosen one, else an active one, else the newest."""
    jobs = _listed(page, session)
    chosen = [entry for entry in jobs if entry.id == session_of(session)["job"]]
    return next(iter([*chosen, *(entry for entry in jobs if entry.active), *jobs]), None)


def choices(page: Page, session: Any) -> list[tuple[str, str]]:
    """The visitor's jobs as (label, id)."""
    return [(f"{entry.name}, {STATES[entry.state]}", entry.id) for entry in _listed(page, session)]


def view_of(page: Page, session: Any, show: bool) -> View:
    """The shown job as it is now."""
    entry = watched(page, session)
    ahead = page.jobs.ahead(entry.id) if entry else 0
    return view(entry, ahead, show, _wait(page) if ahead else None)


def queue(page: Page, session: Any) -> str:
    """The queue, with the names of the visitor's own jobs."""
    return queue_list(page.jobs.entries(), lambda entry: owns(page, session, entry))


def stop(page: Page, session: Any) -> None:
    """Stop the shown job."""
    page.jobs.stop(_own(page, session).id)


def resume(page: Page, session: Any) -> None:
    """Queue the shown job again."""
    page.jobs.again(_own(page, session).id)


def run_of(page: Page, session: Any) -> Path:
    """The run folder of the shown job."""
    return Path(_own(page, session).output)


def _listed(page: Page, session: Any) -> list[Entry]:
    """Attacks are watched where they are started."""
    return [entry for entry in own_jobs(page, session) if not entry.attacks]


def _own(page: Page, session: Any) -> Entry:
    entry = watched(page, session)
    if entry is None:
        raise InputError("you have no job here; click Start erasing first")
    return entry


def _wait(page: Page) -> float | None:
    """Seconds that the running job still needs."""
    running = next((entry for entry in page.jobs.entries() if entry.state == RUNNING), None)
    progress = read_progress(Path(running.output)) if running else None
    return seconds_left(progress, running.head, time.time() - running.started) if running and progress else None
