"""Files are whole or not there, and their text is UTF-8 whatever the locale."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from erase.files import read_json, sync, write_json, written

ROOT = Path(__file__).resolve().parents[2]


def test_json_is_utf8_under_an_ascii_locale(tmp_path: Path) -> None:
    """A concept such as "Hokusai 北斎" is written and read alike, wherever the process runs."""
    path = tmp_path / "options.json"
    code = (
        "from pathlib import Path; from erase.files import read_json, write_json; import locale, sys\n"
        f"path = Path({str(path)!r}); write_json(path, {{'concept': 'Hokusai \\u5317\\u658e'}})\n"
        "assert read_json(path) == {'concept': 'Hokusai \\u5317\\u658e'}\n"
        "print(locale.getpreferredencoding(False))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "utf" not in done.stdout.lower()
    assert read_json(path) == {"concept": "Hokusai 北斎"}
    assert "北斎" in path.read_bytes().decode("utf-8")


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    write_json(path, {"images": 1})
    with pytest.raises(TypeError):
        write_json(path, {"images": object()})
    assert read_json(path) == {"images": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["stages.json"]


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Both are writing at the same time; the last to finish is kept, whole, and neither fails."""
    path, both = tmp_path / "report.json", threading.Barrier(2)
    failed: list[BaseException] = []

    def write(text: str) -> None:
        try:
            with written(path) as part:
                both.wait(10)
                part.write_text(text)
                both.wait(10)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(text * 1000,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(number: int) -> None:
        fsync(number)
        events.append(("sync", os.readlink(f"/proc/self/fd/{number}")))

    def renamed(path: Path, target: Path) -> Path:
        events.append(("rename", str(path)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_json(tmp_path / "stages.json", {"images": 1})
    assert [kind for kind, _ in events] == ["sync", "rename"]
    assert events[0][1] == events[1][1]
    events.clear()
    (tmp_path / "model" / "unet").mkdir(parents=True)
    for name in ("model/model_index.json", "model/unet/config.json"):
        (tmp_path / name).write_text("{}")
    sync(tmp_path / "model")
    assert sorted(name for _, name in events) == [str(tmp_path / "model" / name) for name in ("model_index.json", "unet/config.json")]


def test_a_file_system_without_fsync_is_no_error_and_a_full_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(code: int):
        def fsync(number: int) -> None:
            raise OSError(code, os.strerror(code))

        return fsync

    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    write_json(tmp_path / "a.json", 1)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))  # where the file system allocates late
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "a.json", 2)
    assert read_json(tmp_path / "a.json") == 1
