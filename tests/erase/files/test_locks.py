"""One process at a time in a folder, also on a file system without locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from erase.errors import InputError
from erase.files.locks import OWNER, OwnerFile, lock_folder, locked_folder
from erase.run import Run

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"concept": "star"}


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS", "locks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What flock answers on a file system of this kind."""
    if request.param != "locks":
        code = getattr(errno, request.param)

        def flock(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)
    return str(request.param)


def test_a_run_is_locked_everywhere(file_system: str, tmp_path: Path) -> None:
    with Run.open(tmp_path, OPTIONS), pytest.raises(InputError, match=r"another process is working on .*wait until it ends"):
        Run.open(tmp_path, OPTIONS)
    Run.open(tmp_path, OPTIONS).close()
    Run.open(tmp_path, OPTIONS, overwrite=True).close()
    assert not (tmp_path / OWNER).exists()


def test_a_folder_is_free_after_an_error(file_system: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path, "busy"):
        raise ZeroDivisionError
    lock_folder(tmp_path, "busy").release()


def test_other_errors_of_the_system_are_not_taken_for_missing_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"):
        lock_folder(tmp_path, "busy")


def test_the_file_of_a_killed_process_counts_no_more(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from erase.files.locks import OwnerFile; OwnerFile(Path(sys.argv[1]), ''); os._exit(9)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False
    )
    assert ended.returncode == 9
    assert (tmp_path / OWNER).exists()
    OwnerFile(tmp_path, "busy").release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [json.dumps({"host": "another", "pid": 1}), json.dumps({"host": socket.gethostname(), "pid": os.getppid()}), "", "[]"]
)
def test_an_owner_that_may_live_is_respected_and_named(tmp_path: Path, content: str) -> None:
    (tmp_path / OWNER).write_text(content)
    with pytest.raises(InputError, match=rf"^busy \(its file system has no locks: if no process works there, delete .*{OWNER}\)$"):
        OwnerFile(tmp_path, "busy")
    assert (tmp_path / OWNER).read_text() == content


def test_nobody_deletes_the_file_of_another(tmp_path: Path) -> None:
    lock = OwnerFile(tmp_path, "busy")
    (tmp_path / OWNER).write_text("somebody else's by now")
    lock.release()
    assert (tmp_path / OWNER).exists()
