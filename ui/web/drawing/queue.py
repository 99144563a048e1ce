"""Drawing for the page: one worker process that keeps models loaded, and a fair queue before it.

A visitor has one order in the queue at a time, so first come, first served is fair. An order that nobody has polled for a while is
dropped: its visitor is gone. If the worker dies, the order that it was at fails and another worker starts.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from erase.errors import InputError
from ui.web.drawing.order import DrawnImage, Order, Ticket, TicketStatus
from ui.web.jobs.child import python
from ui.web.jobs.process import PASSIVE, environment

QUEUE = 200  # orders in the queue at most
PATIENCE = 15.0  # seconds without a poll after which a visitor counts as gone
GRACE = 20.0  # seconds that the worker has to abandon a withdrawn order
ENDING = 5.0  # seconds that the worker has to end
MEMORY = 4 * 2**30  # bytes of models that stay loaded, by default

log = logging.getLogger(__name__)


class Drawing:
    """The queue and the worker, which starts with `start` or the first order. A context manager; thread-safe."""

    def __init__(self, device: str = "auto", memory: int = MEMORY, limit: int = QUEUE) -> None:
        self.command = python("ui.web.drawing.worker", "main", "--device", device, "--memory", str(memory))
        self.limit = limit
        self._queue: deque[Ticket] = deque()
        self._current: Ticket | None = None
        self._durations: deque[float] = deque(maxlen=20)
        self._changed = threading.Condition()
        self._worker: subprocess.Popen[bytes] | None = None
        self._errors: deque[str] = deque(maxlen=20)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._count = 0

    def start(self) -> None:
        """Start the worker, so that it is ready when the first order comes."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._start_worker()
                self._thread = threading.Thread(target=self._serve, name="drawing", daemon=True)
                self._thread.start()

    def prepare(self, order: Order) -> None:
        """Have the worker draw an order that will probably come, until another one does; the images wait in its cache."""
        self.start()
        with self._changed:
            if self._worker is not None and not self._closed:
                _send(self._worker, {"do": "prepare", **asdict(order)})

    def submit(self, order: Order, visitor: str) -> Ticket:
        """Join the queue; an earlier order of the same visitor is withdrawn. InputError where the queue is full."""
        self.start()
        with self._changed:
            for other in self._active():
                if other.visitor == visitor:
                    self._withdraw(other)
            if len(self._queue) >= self.limit:
                wait = self._expected_wait(len(self._queue))
                raise InputError(f"{len(self._queue)} visitors wait already{f', about {wait:.0f} s' if wait else ''}; try again later")
            self._count += 1
            ticket = Ticket(order, visitor, self._count)
            self._queue.append(ticket)
            self._changed.notify_all()
        return ticket

    def status(self, ticket: Ticket) -> TicketStatus:
        """The status of an order; polling it preserves its place in the queue."""
        with self._changed:
            ticket.polled = time.monotonic()
            ahead = self._queue.index(ticket) + (self._current is not None) if ticket in self._queue else 0
            done, total = len(ticket.images), ticket.order.total
            return TicketStatus(ticket.state, ahead, self._expected_wait(ahead), done, total, ticket.note)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the queue, or stop the drawing."""
        with self._changed:
            self._withdraw(ticket)

    def leave(self, visitor: str) -> None:
        """Withdraw every order of a visitor."""
        with self._changed:
            for ticket in self._active():
                if ticket.visitor == visitor:
                    self._withdraw(ticket)

    def watch(self, ticket: Ticket, every: float = 0.05) -> Iterator[TicketStatus]:
        """The status again and again until the order is over, the last one included."""
        while True:
            status = self.status(ticket)
            yield status
            if status.state in ("done", "failed", "withdrawn"):
                return
            with self._changed:
                self._changed.wait(every)

    @property
    def pid(self) -> int | None:
        """The worker's, while there is one."""
        return self._worker.pid if self._worker else None

    def close(self) -> None:
        """End the worker; orders in the queue fail."""
        with self._changed:
            self._closed = True
            for ticket in self._queue:
                ticket.state, ticket.note = "failed", "the page is closing"
            self._queue.clear()
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

    def _active(self) -> list[Ticket]:
        return [*self._queue, *([self._current] if self._current else [])]

    def _expected_wait(self, ahead: int) -> float | None:
        """Seconds until `ahead` orders are drawn, by the mean of the last ones."""
        return ahead * sum(self._durations) / len(self._durations) if self._durations else None

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket.over:
            return
        ticket.state = "withdrawn"
        if ticket in self._queue:
            self._queue.remove(ticket)
        elif ticket is self._current and self._worker is not None:
            _send(self._worker, {"do": "stop", "number": ticket.number})
            timer = threading.Timer(GRACE, self._kill, (ticket, self._worker))
            timer.daemon = True
            timer.start()
        self._changed.notify_all()

    def _start_worker(self) -> None:
        pipe = subprocess.PIPE
        self._errors.clear()
        self._worker = subprocess.Popen(
            self.command, env=environment() | PASSIVE, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        threading.Thread(target=_collect, args=(self._worker, self._errors), name="drawing-errors", daemon=True).start()

    # --- threads ----------------------------------------------------------------------------------------------------

    def _kill(self, ticket: Ticket, worker: subprocess.Popen[bytes]) -> None:
        """End a worker that is still at an order long after that was withdrawn."""
        if self._current is ticket:
            worker.kill()

    def _serve(self) -> None:
        while (ticket := self._next()) is not None:
            start = time.monotonic()
            try:
                self._draw(ticket)
            except (OSError, ValueError):  # a closed pipe, or a line that is not JSON: the worker is gone
                self._replace_worker(ticket)
            with self._changed:
                if ticket.state == "done":
                    self._durations.append(time.monotonic() - start)
                self._current = None
                self._changed.notify_all()

    def _next(self) -> Ticket | None:
        with self._changed:
            while not self._closed:
                while self._queue:
                    ticket = self._queue.popleft()
                    if time.monotonic() - ticket.polled < PATIENCE:
                        ticket.state, self._current = "drawing", ticket
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
            message = json.loads(line)
            with self._changed:
                self._take(ticket, message)
                self._changed.notify_all()
            if message["event"] in ("done", "failed"):
                return
        raise OSError("the worker has closed its output")

    def _take(self, ticket: Ticket, message: Mapping[str, Any]) -> None:
        if ticket.over:
            return
        if message["event"] == "picture":
            fields = {name: message[name] for name in ("model", "prompt", "index", "shows", "asked", "exposed")}
            ticket.images.append(DrawnImage(png=base64.b64decode(message["png"]), detections=tuple(message["detections"]), **fields))
        elif message["event"] == "model":
            ticket.facts[message["model"]] = message["facts"]
        elif message["event"] in ("done", "failed"):
            ticket.state, ticket.note = message["event"], message.get("note", "")
        else:
            ticket.note = message["note"]

    def _replace_worker(self, ticket: Ticket) -> None:
        """Fail the order and start another worker. The old one may take seconds to end: not under the lock, which every poll needs."""
        assert self._worker is not None
        with self._changed:
            if not ticket.over:
                ticket.state = "failed"
                ticket.note = "the drawing process ended, perhaps because memory ran out; a new one is starting: click Draw again"
                self._changed.notify_all()
        status = _end(self._worker)
        # What it printed may hold the prompts of other visitors: for the log of the page's owner, not for the page.
        log.warning("the drawing process ended with exit status %s: %s", status, " / ".join(self._errors) or "it printed nothing")
        with self._changed:
            if not self._closed:
                self._start_worker()


def _send(worker: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):  # its end is noticed where its output is read
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        worker.stdin.flush()


def _collect(worker: subprocess.Popen[bytes], lines: deque[str]) -> None:
    """The last lines of the worker's error stream."""
    assert worker.stderr is not None
    for line in worker.stderr:
        if text := line.decode(errors="replace").strip():
            lines.append(text[-300:])


def _end(worker: subprocess.Popen[bytes]) -> int:
    """End a worker, by force where it takes too long; its exit status."""
    with contextlib.suppress(OSError):
        if worker.stdin is not None:
            worker.stdin.close()
    try:
        worker.wait(ENDING)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()
    return worker.returncode
