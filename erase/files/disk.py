"""What the system refuses, as one line: a full or read-only disk, a missing permission, a folder that vanished."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erase.errors import InputError
from erase.files.leftovers import TEMPORARY

AGAIN = "free some space and run the same command again"
RESUMES = ", it resumes where it stopped"
FULL = {errno.ENOSPC: f"the disk is full; {AGAIN}", errno.EDQUOT: f"the disk quota is used up; {AGAIN}"}
DISK = FULL | {
    errno.EFBIG: "the file is larger than the file system or ulimit allows; choose a folder elsewhere",
    errno.EACCES: "no permission; choose a folder that you may write to",
    errno.EPERM: "no permission; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder elsewhere",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "a file of this name exists; choose another folder",
    errno.EISDIR: "a folder of this name exists; choose another name",
    errno.ELOOP: "the links on this path lead in a circle; choose another folder",
    errno.EIO: "the device failed; choose a folder on another one",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EEXIST, errno.EISDIR}  # never the fault of a file that is read
_PART = re.compile(rf"{TEMPORARY.pattern}(?=[/\\]|$)")  # a temporary name somewhere in a path


@contextmanager
def disk_errors(path: Path, resumes: bool = True) -> Iterator[None]:
    """Turn a full or write-protected disk into an InputError that names the file (`path` where the system names none).

    `resumes`: whether the same command resumes where it stopped.
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise InputError(f"cannot use {file_of(error) or path}: {_reason(error.errno, resumes)}") from error
    except SafetensorError as error:  # its writer reports the errno only in the text
        code = re.search(r"os error (\d+)", str(error))
        if code is None or int(code[1]) not in DISK:
            raise
        raise InputError(f"cannot use {path}: {_reason(int(code[1]), resumes)}") from error


def file_of(error: OSError) -> str | None:
    """The file that an error is about, under its final name; None where the system names none.

    Copying and renaming report both files, the source first, also where the target's disk is full.
    """
    second = error.filename2 if error.errno in WRITING else None
    name = second if second is not None else error.filename
    return _PART.sub(r"\1", os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def _reason(code: int, resumes: bool) -> str:
    return DISK[code] + (RESUMES if resumes and code in FULL else "")
