"""Temporary names of what is being written, and what processes that were killed left under such names.

The name says which process writes. So what a dead one left is removed by the next that writes there, and what a living one writes is not.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

ABANDONED = 24 * 3600.0  # seconds without a change after which what a process elsewhere was writing counts as left
TEMPORARY = re.compile(r"\.(?P<final>[^/\\]+?)\.((?P<space>[0-9a-f]{8})-)?(?P<pid>\d+)(-\d+)?(\.old)?\.part")
_numbers = itertools.count()
_visited: set[Path] = set()


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process or thread uses. The first one in a folder removes what dead processes left there."""
    folder = path.parent.absolute()
    if folder not in _visited:
        _visited.add(folder)
        remove_leftovers(folder)
    return path.with_name(f".{path.name}.{_space()}-{os.getpid()}-{next(_numbers)}.part")


def remove_leftovers(folder: Path) -> None:
    """Remove what dead processes left directly in a folder; what cannot be removed stays."""
    try:
        entries = [entry for entry in os.scandir(folder) if TEMPORARY.fullmatch(entry.name)]
    except OSError:
        return
    for entry in entries:
        with suppress(OSError):  # of another user, in a folder for all
            path = Path(entry.path)
            if entry.is_symlink() or not _is_left(path):
                continue
            if entry.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def in_use(path: Path) -> bool:
    """Whether this is the temporary name of another process, which lives."""
    match = TEMPORARY.fullmatch(path.name)
    return match is not None and match["space"] == _space() and int(match["pid"]) != os.getpid() and alive(int(match["pid"]))


def alive(pid: int) -> bool:
    """Whether a process of this number exists here. True where the system has no way to ask."""
    if pid == os.getpid() or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the second: larger than any number of a process
        return False
    except OSError:  # of another user
        return True
    return True


def _is_left(path: Path) -> bool:
    """Whether nobody writes here any more. Of a process elsewhere, or before the last start of this machine, only its age tells."""
    match = TEMPORARY.fullmatch(path.name)
    if match is not None and match["space"] == _space():
        return not alive(int(match["pid"]))
    try:
        return time.time() - max(_changes(path)) > ABANDONED
    except OSError:  # it is being renamed or removed
        return False


def _changes(path: Path) -> Iterator[float]:
    """When a file, or a folder and everything in it, was last changed."""
    yield path.lstat().st_mtime
    for inner in path.rglob("*") if path.is_dir() else ():
        yield inner.lstat().st_mtime


@cache
def _space() -> str:
    """Names where the number of a process means this process: this machine since its start and, in a container, the container."""
    try:
        facts = [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"), os.readlink("/proc/self/ns/pid")]
    except (OSError, ValueError):  # not Linux
        facts = [socket.gethostname()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
