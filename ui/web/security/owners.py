"""Who owns which run, where strangers see the page: a run that a visitor has started is closed to the others.

One file per run, with a hash of its owner's name; it outlives the job. Runs that nobody started here are open to all.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from erase.files import written


def claim(home: Path, run: str, owner: str) -> None:
    """Record the owner of a run; an empty owner is not recorded."""
    if owner:
        with written(home / "owners" / run) as part:
            part.write_text(_hash(owner), encoding="utf-8")


def forget(home: Path, run: str) -> None:
    """Remove the record of a run that is deleted: its name is free."""
    (home / "owners" / run).unlink(missing_ok=True)


def of_others(home: Path, owner: str) -> tuple[str, ...]:
    """Names of the runs that belong to somebody else."""
    folder = home / "owners"
    owned = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    return tuple(path.name for path in owned if path.read_text(encoding="utf-8") != _hash(owner))


def is_of(home: Path, run: str, owner: str) -> bool:
    """Whether this owner has started the run."""
    path = home / "owners" / run
    return path.is_file() and path.read_text(encoding="utf-8") == _hash(owner)


def _hash(owner: str) -> str:
    return sha256(owner.encode()).hexdigest()
