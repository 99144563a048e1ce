"""The jobs of a queue, and the file that stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_json, write_json
from ui.web.forms import label_of
from ui.web.messages import labelled

WAITING, RUNNING, STOPPING, STOPPED, FAILED, DONE = "waiting", "running", "stopping", "stopped", "failed", "done"
ACTIVE = (WAITING, RUNNING, STOPPING)


@dataclass(frozen=True)
class Entry:
    """A job in the queue: its command, its folder, its owner, and its state. Times are seconds since 1970.

    `message` and `option`: the InputError or other message that ended it. `head`: the share of the work that was done when it last
    started. `expected`: seconds that the whole of it was estimated to take, 0 where that was not known.
    """

    id: str
    title: str
    arguments: tuple[str, ...]
    output: str
    owner: str = ""
    state: str = WAITING
    message: str = ""
    option: str | None = None
    queued: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    head: float = 0.0
    expected: float = 0.0

    @property
    def run(self) -> Path:
        """The run folder that it is about: the one that it writes, or, for attacks, the one that is attacked."""
        folder = Path(self.output)
        return folder.parent if self.attacks else folder

    @property
    def name(self) -> str:
        """Its name in a list."""
        return f"attacks on {self.run.name}" if self.attacks else self.run.name

    @property
    def attacks(self) -> bool:
        """Whether it attacks a run."""
        return self.arguments[:1] == ("attack",)

    @property
    def erases(self) -> bool:
        """Whether it erases a concept: its command has no name, only flags."""
        return not self.arguments or self.arguments[0].startswith("--")

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Write all of them, whole or not at all."""
    write_json(path, [asdict(entry) for entry in entries])


def read_entries(path: Path) -> list[Entry]:
    """The entries of an earlier page; a job that was running then waits now."""
    try:
        entries = [_entry(record) for record in read_json(path)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it, the runs themselves are not in it") from None
    after = {RUNNING: WAITING, STOPPING: STOPPED}
    return [replace(entry, state=after.get(entry.state, entry.state)) for entry in entries]


def _entry(record: dict[str, Any]) -> Entry:
    """An entry from its record; `queued` had another name in earlier versions."""
    values = {**record, "arguments": tuple(record["arguments"])}
    if "asked" in values:
        values["queued"] = values.pop("asked")
    return Entry(**values)


def failure(entry: Entry, labels: Mapping[str, str] | None = None) -> str:
    """The message of a failed job, with the label of the control that it is about."""
    option = entry.option or ""
    return str(labelled(InputError(entry.message, option=entry.option), {option: label_of(option), **(labels or {})}))


STATES = {WAITING: "queued", RUNNING: "running", STOPPING: "stopping", STOPPED: "stopped", FAILED: "failed", DONE: "finished"}
