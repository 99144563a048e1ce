"""The command `estimate` in the background, for models that this machine has not been timed with: one at a time, once the form rests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from erase.errors import InputError
from erase.pipeline.plan import Plan
from ui.web.context import Page
from ui.web.erase.cost import estimated
from ui.web.erase.pace import store
from ui.web.jobs.process import command

REST = 1.5  # seconds without a change before anything is measured
SECONDS = 240.0  # that an estimate may take


class Estimates:
    """What is to be timed, by visitor: only the last thing that each of them looks at."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._lock = threading.Lock()
        self._wanted: dict[str, tuple[float, str, Sequence[str], Plan]] = {}
        self._failed: set[str] = set()
        self._busy = False

    def want(self, visitor: str, key: str, arguments: Sequence[str], plan: Plan) -> bool:
        """Have the pace `key` measured by a command with these flags; False where that has failed before. Returns at once."""
        with self._lock:
            if key in self._failed:
                self._wanted.pop(visitor, None)
                return False
            before = self._wanted.get(visitor)
            since = before[0] if before and before[1] == key else time.monotonic()
            self._wanted[visitor] = (since, key, tuple(arguments), plan)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="estimates", daemon=True).start()
        return True

    def drop(self, visitor: str) -> None:
        """The visitor looks at something that needs no measuring."""
        with self._lock:
            self._wanted.pop(visitor, None)

    def _work(self) -> None:
        while (chosen := self._next()) is not None:
            visitor, (since, key, arguments, plan) = chosen
            if time.monotonic() - since < REST or any(entry.active for entry in self.page.jobs.entries()):
                time.sleep(0.3)  # a job would be slowed down, and slow down what is measured
                continue
            kept = self._measure(key, arguments, plan)
            with self._lock:
                if not kept:
                    self._failed.add(key)
                if visitor in self._wanted and self._wanted[visitor][1] == key:
                    del self._wanted[visitor]

    def _next(self) -> tuple[str, tuple[float, str, Sequence[str], Plan]] | None:
        with self._lock:
            self._busy = bool(self._wanted)
            return min(self._wanted.items(), key=lambda item: item[1][0]) if self._wanted else None

    def _measure(self, key: str, arguments: Sequence[str], plan: Plan) -> bool:
        end = command(["estimate", *arguments, "--json"], SECONDS)
        with suppress(InputError, ValueError, OSError):
            pace = estimated(json.loads(end.check().printed), plan)
            if pace is not None:
                store(self.page, key, pace)
                return True
        return False
