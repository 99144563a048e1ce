"""Which of a visitor's jobs is shown, and the buttons for it. Plain functions, without gradio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.progress import read_progress, seconds_left
from ui.web.context import Page
from ui.web.erase.view import EXAMPLE, NOTHING, View, queue_list, view
from ui.web.example.unpack import NAME, is_example
from ui.web.jobs.entry import FAILED, RUNNING, STATES, Entry
from ui.web.visitor import own_jobs, owns, session_of

LOG = 60  # lines that are shown


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
    if entry is None and is_example(page.runs / NAME):
        return View(head=NOTHING + EXAMPLE)
    ahead = page.jobs.ahead(entry.id) if entry else 0
    return view(entry, ahead, show, _wait(page) if ahead else None, log_of(page, entry))


def log_of(page: Page, entry: Entry | None) -> str:
    """The last lines that a failed job printed; nothing where strangers see the page, since they name places on this machine."""
    if entry is None or entry.state != FAILED or page.shared:
        return ""
    try:
        text = page.jobs.log(entry.id).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.splitlines()[-LOG:])


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
    """Measurements and attacks are watched where they are started."""
    return [entry for entry in own_jobs(page, session) if entry.erases]


def _own(page: Page, session: Any) -> Entry:
    entry = watched(page, session)
    if entry is None:
        raise InputError("you have no job here; click Start erasing first")
    return entry


def _wait(page: Page) -> float | None:
    """Seconds that the running job still needs."""
    running = next((entry for entry in page.jobs.entries() if entry.state == RUNNING), None)
    progress = read_progress(Path(running.output)) if running else None
    if running is None:
        return None
    passed = time.time() - running.started
    left = seconds_left(progress, running.head, passed) if progress else None
    return left if left is not None or not running.expected else max(1.0, running.expected - passed)
