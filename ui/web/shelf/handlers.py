"""What can be done to a run: a name and a note for it, and deleting it. Plain functions, without gradio."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import temporary
from erase.files.disk import disk_errors
from erase.files.locks import LOCK, locked_folder
from ui.web.context import Page
from ui.web.erase.uploads import remove as remove_uploads
from ui.web.jobs.entry import Entry
from ui.web.security.owners import forget
from ui.web.shelf.labels import write_label
from ui.web.shelf.listing import Shelved, folder_size, shelved, shelved_run
from ui.web.units import size

PARTS = {"model": "the erased model", "samples": "its pictures", "report.json": "its numbers", "attacks": "its attacks"}


def own_run(page: Page, session: Any, name: str | None) -> Shelved:
    """A run that the visitor may change: where strangers see the page, one that they have started."""
    run = shelved_run(page, session, name)
    if not run.mine:
        raise InputError(f"{run.name} is not yours: it can be read, and only who started it here can change it")
    return run


def rename(page: Page, session: Any, name: str | None, title: str, note: str) -> None:
    """Give a run a display name and a note; the folder stays. An empty name is that of the folder."""
    run = own_run(page, session, name)
    write_label(run.folder, "" if title.strip() == run.name else title, note)


def busy(page: Page, folder: Path) -> Entry | None:
    """The job that waits for this folder or works in it."""
    place = folder.resolve()
    return next(
        (entry for entry in page.jobs.entries() if entry.active and place in (entry.run.resolve(), Path(entry.output).resolve())), None
    )


def deletion(page: Page, session: Any, name: str | None) -> str:
    """What deleting a run would do, in words; InputError where it cannot be deleted."""
    run = own_run(page, session, name)
    _check_idle(page, run)
    parts = [words for file, words in PARTS.items() if (run.folder / file).exists()]
    what = f" ({', '.join(parts)})" if parts else ""
    others = users(page, session, run)
    after = (
        f" {len(others)} other {'run was' if len(others) == 1 else 'runs were'} made from it: {', '.join(others[:3])}." if others else ""
    )
    goes = f"The folder {run.name}{what} goes, and {size(folder_size(run.folder))} are free again."
    return f"Delete {run.title}? {goes}{after} It cannot be undone."


def users(page: Page, session: Any, run: Shelved) -> list[str]:
    """Names of the runs that read this one: those that continued from its model, and its measurements."""
    places = {run.folder.resolve(), (run.folder / "model").resolve()}
    names = []
    for other in shelved(page, session):
        sources = [Path(str(source)).resolve() for key in ("model", "erased") if (source := other.options.get(key))]
        if other.folder != run.folder and places & set(sources):
            names.append(other.name)
    return names


def delete(page: Page, session: Any, name: str | None) -> str:
    """Delete a run; says what was freed. It is first renamed, so that no half of a run is left to be taken for one."""
    run = own_run(page, session, name)
    _check_idle(page, run)
    freed = folder_size(run.folder)
    with disk_errors(run.folder, resumes=False):
        aside = temporary(run.folder)
        with ExitStack() as held:
            for folder in [run.folder, *(lock.parent for lock in run.folder.rglob(f"*/{LOCK}"))]:
                held.enter_context(locked_folder(folder, f"another process is working on {run.name}; wait until it has ended"))
            remove_uploads(page, run.folder)
            run.folder.rename(aside)
        shutil.rmtree(aside)
    forget(page.jobs.home, run.name)
    return f"{run.title} is deleted; {size(freed)} are free again."


def _check_idle(page: Page, run: Shelved) -> None:
    if entry := busy(page, run.folder):
        raise InputError(f"a job is working on {run.name} ({entry.title}); stop it first, or wait until it has ended")
