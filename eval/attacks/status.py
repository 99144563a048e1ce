"""The progress of a campaign for other processes: a small file, written before each model is attacked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from erase.files import read_object, write_json
from erase.files.disk import disk_errors

STANDING = "standing.json"


@dataclass(frozen=True)
class Standing:
    """The attack whose turn it is since `began` (seconds since 1970), and on which subject; seconds of the budget that were spent
    before; of each attack its attempts so far and in all."""

    attack: str
    seconds: float
    budget: float
    attempts: Mapping[str, tuple[int, int]]
    subject: str = ""
    began: float = field(default_factory=time.time)


def note(home: Path, standing: Standing, subject: str) -> None:
    """Write the progress file."""
    with disk_errors(home):
        write_json(home / STANDING, {**asdict(standing), "subject": subject})


def forget(home: Path) -> None:
    """Delete the progress file: the campaign has ended."""
    (home / STANDING).unlink(missing_ok=True)


def standing(home: Path, since: float = 0.0) -> Standing | None:
    """The progress; None where the file is missing or older than `since` (seconds since 1970)."""
    path = home / STANDING
    try:
        if path.stat().st_mtime < since:
            return None
        record = read_object(path)
        attempts = {str(name): (int(done), int(most)) for name, (done, most) in record["attempts"].items()}
        numbers = {name: float(record[name]) for name in ("seconds", "budget", "began")}
        return Standing(str(record["attack"]), attempts=attempts, subject=str(record["subject"]), **numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not written yet, or not a progress file
        return None
