"""Jobs as lines of a queue, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from erase.errors import InputError
from erase.files import write_json

WAITING, RUNNING, STOPPING, STOPPED, FAILED, DONE = "waiting", "running", "stopping", "stopped", "failed", "done"
ACTIVE = (WAITING, RUNNING, STOPPING)


@dataclass(frozen=True)
class Entry:
    """A job in the queue: what to run, where it writes, whose it is, and how far it came. Times are seconds since 1970.

    `head`: the share of the work that was done when it last started.
    """

    id: str
    title: str
    arguments: tuple[str, ...]
    output: str
    owner: str = ""
    state: str = WAITING
    message: str = ""
    asked: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    head: float = 0.0

    @property
    def run(self) -> Path:
        """The run folder that it is about: the one that it writes, or, of attacks, the one that they are kept in."""
        folder = Path(self.output)
        return folder.parent if self.attacks else folder

    @property
    def name(self) -> str:
        """What it is called in a list."""
        return f"attacks on {self.run.name}" if self.attacks else self.run.name

    @property
    def attacks(self) -> bool:
        return self.arguments[:1] == ("attack",)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """All of them, whole or not at all."""
    write_json(path, [asdict(entry) for entry in entries])


def read_entries(path: Path) -> list[Entry]:
    """The entries of a page before this one; what ran then waits now."""
    try:
        found = [Entry(**{**record, "arguments": tuple(record["arguments"])}) for record in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it, the runs themselves are not in it") from None
    after = {RUNNING: WAITING, STOPPING: STOPPED}
    return [replace(entry, state=after.get(entry.state, entry.state)) for entry in found]


STATES = {WAITING: "in the line", RUNNING: "running", STOPPING: "stopping", STOPPED: "stopped", FAILED: "failed", DONE: "finished"}
