"""Drawing for the page: one worker process that keeps models loaded, and a fair line before it.

A visitor has one order in the line at a time, so first come, first served is fair. A visitor who is gone (nobody has looked at
the ticket for a while) loses the place. If the worker dies, the one order that it was at fails and another worker starts.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from erase.errors import InputError
from ui.web.drawing.order import Drawn, Look, Order, Ticket
from ui.web.jobs.child import python
from ui.web.jobs.process import environment

LINE = 200  # orders in the line at most
PATIENCE = 15.0  # seconds without a look after which a visitor is taken to be gone
GRACE = 20.0  # seconds that the worker has to let go of a withdrawn order
PASSIVE = {"OMP_WAIT_POLICY": "passive"}  # threads that spin while a job has the cores make it twenty times slower
MEMORY = 4 * 2**30  # bytes of models kept loaded, where nobody says otherwise


class Drawing:
    """The line and the worker, which starts with `start` or the first order. A context manager; thread-safe."""

    def __init__(self, device: str = "auto", memory: int = MEMORY, line: int = LINE) -> None:
        self.command = python("ui.web.drawing.worker", "main", "--device", device, "--memory", str(memory))
        self.limit = line
        self._line: deque[Ticket] = deque()
        self._current: Ticket | None = None
        self._took: deque[float] = deque(maxlen=20)
        self._changed = threading.Condition()
        self._worker: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._count = 0

    def start(self) -> None:
        """Start the worker, so that it is warm when the first order comes."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._start_worker()
                self._thread = threading.Thread(target=self._serve, name="drawing", daemon=True)
                self._thread.start()

    def submit(self, order: Order, visitor: str) -> Ticket:
        """Join the line; an order of the same visitor that is still there is withdrawn. InputError where the line is full."""
        self.start()
        with self._changed:
            for other in [*self._line, *([self._current] if self._current else [])]:
                if other.visitor == visitor:
                    self._withdraw(other)
            if len(self._line) >= self.limit:
                wait = self._about(len(self._line))
                raise InputError(f"{len(self._line)} visitors wait already{f', about {wait:.0f} s' if wait else ''}; press again later")
            self._count += 1
            ticket = Ticket(order, visitor, self._count)
            self._line.append(ticket)
            self._changed.notify_all()
        return ticket

    def look(self, ticket: Ticket) -> Look:
        """How it stands; looking keeps the place in the line."""
        with self._changed:
            ticket.looked = time.monotonic()
            ahead = self._line.index(ticket) + (self._current is not None) if ticket in self._line else 0
            total = len(ticket.order.models) * ticket.order.count
            return Look(ticket.state, ahead, self._about(ahead), len(ticket.pictures), total, ticket.note)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line, or stop the drawing."""
        with self._changed:
            self._withdraw(ticket)

    def leave(self, visitor: str) -> None:
        """Withdraw whatever a visitor has in the line."""
        with self._changed:
            for ticket in [*self._line, *([self._current] if self._current else [])]:
                if ticket.visitor == visitor:
                    self._withdraw(ticket)

    def watch(self, ticket: Ticket, every: float = 0.05) -> Iterator[Look]:
        """Looks until it is over, the last one included."""
        while True:
            look = self.look(ticket)
            yield look
            if ticket.over:
                return
            with self._changed:
                self._changed.wait(every)

    @property
    def pid(self) -> int | None:
        """The worker's, while there is one."""
        return self._worker.pid if self._worker else None

    def close(self) -> None:
        """End the worker; who waits is told."""
        with self._changed:
            self._closed = True
            for ticket in self._line:
                ticket.state, ticket.note = "failed", "the page is closing"
            self._line.clear()
            self._changed.notify_all()
            worker = self._worker
        if worker is not None:
            _end(worker)
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Drawing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the caller holds the lock ----------------------------------------------------------------------------------

    def _about(self, ahead: int) -> float | None:
        """Seconds until so many orders are drawn, by the mean of the last ones."""
        return ahead * sum(self._took) / len(self._took) if self._took else None

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket.over:
            return
        ticket.state = "withdrawn"
        if ticket in self._line:
            self._line.remove(ticket)
        elif ticket is self._current and self._worker is not None:
            _send(self._worker, {"do": "stop", "number": ticket.number})
            timer = threading.Timer(GRACE, self._let_go, (ticket, self._worker))
            timer.daemon = True
            timer.start()
        self._changed.notify_all()

    def _start_worker(self) -> None:
        pipe = subprocess.PIPE
        self._worker = subprocess.Popen(
            self.command, env=environment() | PASSIVE, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        threading.Thread(target=_keep, args=(self._worker, self._said), name="drawing-errors", daemon=True).start()

    # --- threads ----------------------------------------------------------------------------------------------------

    def _let_go(self, ticket: Ticket, worker: subprocess.Popen[bytes]) -> None:
        """End a worker that is still at an order long after that was withdrawn."""
        if self._current is ticket:
            worker.kill()

    def _serve(self) -> None:
        while (ticket := self._next()) is not None:
            start = time.monotonic()
            try:
                self._draw(ticket)
            except (OSError, ValueError) as error:  # a closed pipe, or no line of ours: the worker is gone
                self._lost(ticket, error)
            with self._changed:
                if ticket.state == "done":
                    self._took.append(time.monotonic() - start)
                self._current = None
                self._changed.notify_all()

    def _next(self) -> Ticket | None:
        with self._changed:
            while not self._closed:
                while self._line:
                    ticket = self._line.popleft()
                    if time.monotonic() - ticket.looked < PATIENCE:
                        ticket.state, ticket.started, self._current = "drawing", time.monotonic(), ticket
                        return ticket
                    ticket.state = "withdrawn"
                self._changed.wait()
        return None

    def _draw(self, ticket: Ticket) -> None:
        worker = self._worker
        assert worker is not None
        assert worker.stdout is not None
        _send(worker, {"do": "draw", "number": ticket.number, **asdict(ticket.order)})
        for line in iter(worker.stdout.readline, b""):
            said = json.loads(line)
            with self._changed:
                self._take(ticket, said)
                self._changed.notify_all()
            if said["event"] in ("done", "failed"):
                return
        raise OSError(f"exit status {worker.wait()}")

    def _take(self, ticket: Ticket, said: Mapping[str, Any]) -> None:
        if ticket.over:
            return
        if said["event"] == "picture":
            fields = {name: said[name] for name in ("model", "index", "shows", "exposed")}
            ticket.pictures.append(Drawn(png=base64.b64decode(said["png"]), found=tuple(said["found"]), **fields))
        elif said["event"] in ("done", "failed"):
            ticket.state, ticket.note = said["event"], said.get("note", "")
        else:
            ticket.note = said["note"]

    def _lost(self, ticket: Ticket, error: Exception) -> None:
        with self._changed:
            if not ticket.over:
                ticket.state = "failed"
                last = f"; it last said: {self._said[-1]}" if self._said else ""
                ticket.note = f"the drawing process ended ({error}, perhaps out of memory{last}); a new one starts, press again"
            if self._worker is not None:
                _end(self._worker)
            if not self._closed:
                self._said.clear()
                self._start_worker()


def _send(worker: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # its end is noticed where its answers are read
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        worker.stdin.flush()


def _keep(worker: subprocess.Popen[bytes], said: deque[str]) -> None:
    """The last lines of its errors."""
    assert worker.stderr is not None
    for line in worker.stderr:
        if text := line.decode(errors="replace").strip():
            said.append(text[-300:])


def _end(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if worker.stdin is not None:
            worker.stdin.close()
    try:
        worker.wait(5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()
