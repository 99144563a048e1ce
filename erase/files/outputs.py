"""Paths of a user, and where a command may write: to a new name, or over a file of the kind that it writes.

Asked before any work, without a change.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from erase.errors import InputError

Kind = Literal["svg", "json"]
RUN = "options.json"  # what every run folder has, evaluations and attacks too
HEAD = 1024  # bytes that show of what kind a file is
MARKS: dict[Kind, tuple[bytes, ...]] = {"svg": (b"<svg", b"<?xml"), "json": (b"{", b"[")}


def check_file(path: Path, kind: Kind, option: str) -> None:
    """InputError unless a file of this kind can be written here: nothing is there, or one of the same kind, or an empty one.

    `option` is the field of the options that holds the path (`scatter`).
    """
    flag = f"--{option.replace('_', '-')}"
    status = _status(path, flag, option)
    if status is None:
        return
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{flag} {path} is {kind_of_file(status.st_mode)}; give the name of a file", option=option)
    with path.open("rb") as file:
        head = file.read(HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    if (status.st_size and not head.startswith(MARKS[kind])) or (kind == "svg" and head.startswith(b"<?xml") and b"<svg" not in head):
        raise InputError(f"{flag} {path} is a file that is not {kind.upper()} and would be replaced; give another name", option=option)


def check_folder(path: Path, option: str = "output") -> None:
    """InputError unless a folder is here or can be made here. What is in it is for the caller to judge."""
    flag = f"--{option.replace('_', '-')}"
    status = _status(path, flag, option)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{flag} {path} is {kind_of_file(status.st_mode)}; give the name of a folder", option=option)


def check_own_folder(path: Path, mark: str, kind: str, option: str = "output") -> None:
    """InputError for a folder that holds files but is not of the command's own kind: it lacks the file `mark`, or is a run folder.

    Hidden files and folders in it count for nothing. `kind` says what such a folder holds.
    """
    if not path.is_dir():
        return
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".") and not entry.is_dir())
    flag, remedy = f"--{option.replace('_', '-')}", "give a new folder"
    if RUN in names:
        raise InputError(f"{flag} {path} is a run folder, not one for {kind}; {remedy}", option=option)
    if names and mark not in names:
        few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise InputError(f"{flag} {path} holds {few} and is not a folder of {kind} (no {mark}); {remedy}", option=option)


def user_path(text: str | Path) -> Path:
    """A path as a user types it, with ~ for a home folder. InputError for the home of somebody who does not exist."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: there is no such home folder; give the path without ~") from None


def real_path(path: Path) -> Path:
    """The path with its links followed, as far as they lead somewhere. Path.resolve raises RuntimeError for links in a circle."""
    return Path(os.path.realpath(path))


def check_replaceable(path: Path) -> None:
    """InputError where a rename to this name would put a file in the place of a folder or a device."""
    try:
        status = path.stat()
    except OSError:  # nothing there; a link that leads nowhere is replaced
        return
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is {kind_of_file(status.st_mode)}, where a file is to be written; give another name")


def kind_of_file(mode: int) -> str:
    """What a file is that is not of the expected kind, in words."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _status(path: Path, flag: str, option: str) -> os.stat_result | None:
    """The status of what is at a path; None where it can be made. InputError where neither."""
    try:
        return path.stat()
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise InputError(f"{flag} {path}: a part of this path is a file; choose another folder", option=option) from None
    except OSError as error:  # a loop of links, a name that is too long, a part of the path that is a file, no permission
        raise InputError(f"{flag} {path} cannot be used ({error.strerror}); give another name", option=option) from None
    parent = path.parent
    while parent != parent.parent and not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{flag} {path}: {parent} is not a folder; give another name", option=option)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{flag} {path}: {parent} cannot be written to; give a folder that you may write to", option=option)
    return None
