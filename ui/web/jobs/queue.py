"""The queue of jobs: one at a time, each in a process of its own, stored on disk.

`<runs>/.ui/queue.json` has every job; a page that starts again continues with it. A stopped job is resumed by the same command:
the run folder has its state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from erase.errors import InputError
from erase.files.disk import disk_errors
from erase.files.locks import LOCK, lock_folder, locked_folder
from ui.progress import read_progress
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STOPPED, STOPPING, WAITING, Entry, read_entries, write_entries
from ui.web.jobs.process import GRACE, Ended, Process, ended, interrupt, start
from ui.web.security.owners import claim

HISTORY = 200  # ended jobs that are remembered


class Jobs:
    """The queue of one runs folder; `close` stops the running job, which the next start resumes. A context manager.

    `limit` bounds the waiting jobs, `each` those of one owner. One page at a time has the queue of a folder.
    """

    def __init__(self, root: Path, limit: int = 32, each: int = 8) -> None:
        self.home = root / ".ui"
        self.limit, self.each = limit, each
        with disk_errors(root):
            (self.home / "logs").mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.home, f"another page already serves {root}; open that one, or give another --runs")
        self._changed = threading.Condition()
        self._process: Process | None = None
        self._closing = False
        self._entries = {entry.id: entry for entry in read_entries(self.home / "queue.json")}
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    # --- reading -----------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every job, in the order of the queue."""
        with self._changed:
            return list(self._entries.values())

    def get(self, id: str | None) -> Entry | None:
        """A job by its id."""
        with self._changed:
            return self._entries.get(id or "")

    def ahead(self, id: str) -> int:
        """How many jobs come before this one."""
        active = [entry.id for entry in self.entries() if entry.active]
        return active.index(id) if id in active else 0

    def log(self, id: str) -> Path:
        """The file with the output of the job's process."""
        return self.home / "logs" / f"{id}.txt"

    # --- changing -----------------------------------------------------------------------------------------------

    def add(self, arguments: Sequence[str], output: Path, title: str, owner: str = "", expected: float = 0.0) -> Entry:
        """Queue a command; InputError where the queue is full, or a job for the folder is in it already. `expected`: seconds."""
        entry = Entry(uuid4().hex, title, tuple(arguments), str(output), owner, queued=time.time(), expected=expected)
        with self._changed:
            self._check_room(entry)
            claim(self.home, entry.run.name, owner)
            return self._put(entry)

    def again(self, id: str) -> Entry:
        """Queue a job that has ended once more: a stopped or failed one is resumed."""
        with self._changed:
            entry = self._entries[id]
            if entry.active:
                return entry
            self._check_room(entry)
            del self._entries[id]
            return self._put(replace(entry, state=WAITING, message="", option=None, queued=time.time(), started=0.0, ended=0.0))

    def stop(self, id: str) -> Entry:
        """Remove a job from the queue, or interrupt it. Returns at once; the job needs a moment to write its last files."""
        with self._changed:
            entry = self._entries[id]
            if entry.state == WAITING:
                entry = self._change(id, state=STOPPED, message="removed from the queue", ended=time.time())
                with suppress(OSError):  # its folder, if nothing is in it yet
                    Path(entry.output).rmdir()
            elif entry.state == RUNNING:
                entry = self._change(id, state=STOPPING)
                interrupt(self._process)
            return entry

    def wait(self, id: str, seconds: float) -> Entry:
        """The job when it has ended, or as it is after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._entries[id].active, seconds)
            return self._entries[id]

    def close(self) -> None:
        """Stop the running job and leave it in the queue for the next start."""
        with self._changed:
            self._closing = True
            interrupt(self._process)
            self._changed.notify_all()
        self._thread.join()
        self._lock.release()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the one thread that runs jobs ------------------------------------------------------------------------------

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            try:
                self._until_free(entry)
                end = self._run(entry)
            except OSError as error:
                end = Ended(1, message=f"the job could not be started ({error}); fix that and click Resume")
            with self._changed, suppress(InputError):  # the disk is full: the queue continues in memory
                self._process = None
                self._end(entry.id, end)

    def _next(self) -> Entry | None:
        """The first waiting job, as running; None when the page closes."""
        with self._changed:
            while not self._closing:
                first = next((entry for entry in self._entries.values() if entry.state == WAITING), None)
                if first is not None:
                    with suppress(InputError):
                        self._change(first.id, state=RUNNING, started=time.time(), head=_share(first))
                    return self._entries[first.id]
                self._changed.wait()
        return None

    def _until_free(self, entry: Entry) -> None:
        """Wait for a process of a page that died: it is about to stop, and locks the run folder until then."""
        run, end = Path(entry.output), time.monotonic() + GRACE
        while (run / LOCK).exists() and time.monotonic() < end:
            with suppress(InputError), locked_folder(run, "another process is about to stop", wait=1):
                return
            with self._changed:
                if self._closing or self._entries[entry.id].state != RUNNING:
                    return
                self._changed.wait(0.1)  # where a lock cannot be waited for

    def _run(self, entry: Entry) -> Ended:
        with self.log(entry.id).open("wb") as log:
            with self._changed:
                if self._closing or self._entries[entry.id].state == STOPPING:
                    return Ended(130)
                self._process = process = start(entry.arguments, log, self._error_file(entry.id))
            status = process.wait()
        text = self.log(entry.id).read_text(encoding="utf-8", errors="replace")
        return ended(status, text, self._error_file(entry.id))

    def _error_file(self, id: str) -> Path:
        return self.home / "logs" / f"{id}.error.json"

    def _end(self, id: str, end: Ended) -> None:
        stopped = self._entries[id].state == STOPPING
        if end.status == 0:
            self._change(id, state=DONE, ended=time.time())
        elif self._closing and not stopped:
            self._change(id, state=WAITING, started=0.0)
        elif stopped or end.status == 130:
            self._change(id, state=STOPPED, message="stopped; it can be resumed", ended=time.time())
        else:
            option = end.error.option if end.error else None
            self._change(id, state=FAILED, message=end.message, option=option, ended=time.time())

    def _check_room(self, entry: Entry) -> None:
        queue = [other for other in self._entries.values() if other.active]
        own = [other for other in queue if other.owner == entry.owner]
        if len(queue) >= self.limit or len(own) >= self.each:
            whose = f"{len(own)} of them yours" if len(own) >= self.each else f"{self.limit} at most"
            raise InputError(f"{len(queue)} jobs wait already, {whose}; wait until one has ended, or stop one")
        if any(other.output == entry.output for other in queue):
            raise InputError(f"{entry.name} is in the queue already; wait until it has ended")

    def _put(self, entry: Entry) -> Entry:
        ended = [other.id for other in self._entries.values() if not other.active]
        for id in ended[: max(0, len(ended) - HISTORY)]:
            del self._entries[id]
            self.log(id).unlink(missing_ok=True)
            self._error_file(id).unlink(missing_ok=True)
        self._entries[entry.id] = entry
        try:
            return self._change(entry.id)
        except InputError:
            del self._entries[entry.id]
            raise

    def _change(self, id: str, **changes: Any) -> Entry:
        """Change an entry, on disk too, and notify waiting threads. The caller holds the lock."""
        self._entries[id] = replace(self._entries[id], **changes)
        self._changed.notify_all()
        with disk_errors(self.home):
            write_entries(self.home / "queue.json", self._entries.values())
        return self._entries[id]


def _share(entry: Entry) -> float:
    """The share of the job's work that is done."""
    progress = read_progress(Path(entry.output))
    return progress.share if progress else 0.0
