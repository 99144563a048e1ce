"""The log of a run: how long each stage took, and what its process printed, which only the owner of the machine may read."""

from __future__ import annotations

from html import escape
from typing import Any

from erase.concepts.english import spoken_duration
from erase.errors import InputError
from erase.run import Run
from ui.progress import STAGES
from ui.web.context import Page
from ui.web.jobs.entry import failure
from ui.web.shelf.listing import Shelved, jobs_by_folder

TAIL = 20_000  # letters
CLOSED = "<p class=muted>What the process printed is for the owner of this machine.</p>"
ELSEWHERE = "<p class=muted>Not started on this page, or long ago: what its process printed is not kept here.</p>"


def log(page: Page, session: Any, run: Shelved) -> str:
    """As HTML."""
    return _stages(run) + _printed(page, run)


def _stages(run: Shelved) -> str:
    try:
        stages = Run.read(run.folder).stages()
    except (InputError, OSError):
        stages = {}
    rows = "".join(
        f"<tr><th scope=row>{escape(STAGES.get(name, name))}</th><td>{escape(spoken_duration(float(facts['seconds'])))}</td></tr>"
        for name, facts in stages.items()
        if isinstance(facts.get("seconds"), int | float)
    )
    return (
        f"<table class=runs><thead><tr><th scope=col>Stage</th><th scope=col>Time</th></tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else ""
    )


def _printed(page: Page, run: Shelved) -> str:
    entry = jobs_by_folder(page).get(run.folder.resolve())
    if entry is None:
        return ELSEWHERE
    message = f'<p class="problem">{escape(failure(entry))}</p>' if entry.message else ""
    if page.shared:
        return message + CLOSED
    path = page.jobs.log(entry.id)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = [line.rpartition("\r")[2].rstrip() for line in text[-TAIL:].split("\n")]  # a progress bar as it ended
    return f"{message}<pre class='lines log' tabindex=0>{escape(chr(10).join(filter(None, lines)) or 'It printed nothing.')}</pre>"
