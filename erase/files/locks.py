"""One process at a time in a folder: by a lock of the file system, or by a file that names its owner where that has no locks."""

from __future__ import annotations

import errno
import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from erase.errors import InputError
from erase.files.leftovers import alive

LOCK = ".lock"
OWNER = ".lock.owner"  # beside it, on file systems without locks
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}  # NFS without a lock daemon, FUSE


class Lock(Protocol):
    """A folder that is locked until `release`, or until its process ends."""

    def release(self) -> object: ...


def lock_folder(folder: Path, busy: str, wait: float = 0.0) -> Lock:
    """Lock a folder that exists, waiting for at most so many seconds. InputError `busy` where another process has it."""
    import filelock

    warnings.filterwarnings("ignore", message="flock not supported")  # its own other kind of lock works
    lock = filelock.FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=wait)
    except filelock.Timeout as error:
        raise InputError(busy) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return OwnerFile(folder, busy)
    except NotImplementedError:
        return OwnerFile(folder, busy)
    return lock


@contextmanager
def locked_folder(folder: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Within, a folder is locked."""
    lock = lock_folder(folder, busy, wait)
    try:
        yield
    finally:
        lock.release()


class OwnerFile:
    """A file with the machine and number of the process that has the folder. It outlives a process that was killed.

    So it counts only while that process lives. Of another machine this is not known: its file counts until somebody removes it.
    """

    def __init__(self, folder: Path, busy: str) -> None:
        self.path = folder / OWNER
        self.text = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        for _ in range(2):
            with suppress(FileExistsError):
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(self.text)
                return
            if not self._remove_dead():
                break
        raise InputError(f"{busy} (its file system has no locks: if no process works there, delete {self.path})")

    def release(self) -> None:
        """Give the folder back."""
        with suppress(OSError):
            if self.path.read_text(encoding="utf-8") == self.text:
                self.path.unlink()

    def _remove_dead(self) -> bool:
        """Whether the owner was a process of this machine that has ended; its file is removed then."""
        try:
            text = self.path.read_text(encoding="utf-8")
            owner = json.loads(text)
            if owner["host"] != socket.gethostname() or alive(int(owner["pid"])):
                return False
        except FileNotFoundError:
            return True
        except (OSError, ValueError, KeyError, TypeError):
            return False
        aside = self.path.with_name(f"{OWNER}.{os.getpid()}.part")
        with suppress(OSError):
            self.path.rename(aside)  # only one of several processes gets it
            if aside.read_text(encoding="utf-8") != text:  # somebody else had already taken the folder
                os.link(aside, self.path)
            aside.unlink()
        return True
