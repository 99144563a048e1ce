"""Who a visitor is: the session that the browser stores, and which jobs and runs belong to it.

Where strangers see the page, a job belongs to the browser that started it; the browser proves that by an id nobody can guess.
Where only the owner of the machine sees it, every job is theirs.
"""

from __future__ import annotations

import secrets
from typing import Any, TypedDict

from erase.files import written
from ui.web.context import Page
from ui.web.jobs.entry import Entry


class BrowserSession(TypedDict):
    """What a browser stores: `visitor`, its id, and `job`, the id of the job that it shows."""

    visitor: str
    job: str


def secret(page: Page) -> str:
    """The key with which browsers encrypt their session: the same after a restart, so that they find their jobs again."""
    path = page.jobs.home / "secret"
    if not path.exists():
        with written(path) as part:
            part.touch(mode=0o600)
            part.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def session_of(stored: Any) -> BrowserSession:
    """The session that a browser has stored, a new one where it has none."""
    known = stored if isinstance(stored, dict) else {}
    return {"visitor": str(known.get("visitor") or secrets.token_urlsafe(24)), "job": str(known.get("job") or "")}


def owner(page: Page, session: Any) -> str:
    """The name under which this visitor's jobs are queued."""
    return session_of(session)["visitor"] if page.shared else ""


def page_for(page: Page, session: Any) -> Page:
    """The page as this visitor sees it."""
    return page.seen_by(owner(page, session))


def own_jobs(page: Page, session: Any) -> list[Entry]:
    """The visitor's jobs, newest first."""
    return [entry for entry in reversed(page.jobs.entries()) if owns(page, session, entry)]


def owns(page: Page, session: Any, entry: Entry) -> bool:
    """Whether a job is the visitor's."""
    return not page.shared or entry.owner == owner(page, session)
