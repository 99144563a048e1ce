"""Who a browser is: the secret that it keeps, and which jobs and runs are its own."""

from __future__ import annotations

import secrets
from typing import Any

from erase.files import written
from ui.web.context import Page
from ui.web.jobs.entry import Entry

Seat = dict[str, str]


def secret(page: Page) -> str:
    """What browsers encrypt their seat with: the same after a restart, so that they find their jobs again."""
    path = page.jobs.home / "secret"
    if not path.exists():
        with written(path) as part:
            part.touch(mode=0o600)
            part.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def seated(seat: Any) -> Seat:
    """The seat of a browser, made where it has none."""
    known = seat if isinstance(seat, dict) else {}
    return {"visitor": str(known.get("visitor") or secrets.token_urlsafe(24)), "job": str(known.get("job") or "")}


def owner(page: Page, seat: Any) -> str:
    """Under what name this visitor's jobs stand in the line."""
    return seated(seat)["visitor"] if page.shared else ""


def sight(page: Page, seat: Any) -> Page:
    """The page as this visitor sees it."""
    return page.seen_by(owner(page, seat))


def own(page: Page, seat: Any) -> list[Entry]:
    """The visitor's jobs, newest first."""
    return [entry for entry in reversed(page.jobs.entries()) if _owns(page, seat, entry)]


def _owns(page: Page, seat: Any, entry: Entry) -> bool:
    return not page.shared or entry.owner == owner(page, seat)
