"""Cached folders are whole or made again, in whatever place there is."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from erase.errors import InputError
from erase.files.cache import cache_places, cached, making, whole


def make(name: str = "a", text: str = "weights") -> Path:
    with making("models", name) as (part, folder):
        (part / "unet").mkdir()
        (part / "unet" / "w").write_text(text)
        (part / "index").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_folder_is_found_again(home: Path) -> None:
    folder = make()
    assert folder == home / ".cache/erase-concept/models/a" == cached("models", "a")
    assert cached("models", "b") is None


@pytest.mark.parametrize("clean", [lambda f: (f / "unet" / "w").unlink(), lambda f: (f / "index").write_text("{"), shutil.rmtree])
def test_what_a_cleaner_leaves_is_made_whole(clean) -> None:
    folder = make()
    clean(folder)
    assert not whole(folder)
    assert cached("models", "a") is None
    assert make() == folder
    assert whole(folder)
    assert (folder / "unet" / "w").read_text() == "weights"


def test_of_two_processes_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with making("models", "a") as (part, folder):
        (part / "w").write_text("ours")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: 1)
            make(text="theirs")
    assert (folder / "unet" / "w").read_text() == "theirs"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a", "a.files.json"]


def test_nothing_is_left_of_a_failure() -> None:
    def fail() -> None:
        with making("models", "a") as (part, _):
            (part / "w").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(cache_places("models")[0].iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_day() -> None:
    folder = make()
    for name, age in (("1", 1e6), ("2", 0)):
        part = folder.with_name(f".a.{name}.part")
        part.mkdir()
        (part / "w").touch()
        for path in (part / "w", part):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    shutil.rmtree(folder)
    make()
    assert sorted(path.name for path in folder.parent.iterdir()) == [".a.2.part", "a", "a.files.json"]


def test_without_a_home_the_temporary_folder_takes_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    folder = make()
    assert folder.is_relative_to(home.parent / "tmp")
    assert cached("models", "a") == folder
    assert (home.parent / "tmp" / f"erase-concept-{os.getuid()}").stat().st_mode & 0o022 == 0, "nobody else may write there"


def test_a_home_that_cannot_be_written_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make("old")
    real = tempfile.TemporaryFile

    def refused(*arguments: object, **options: object):
        if Path(str(options["dir"])).is_relative_to(home):
            raise PermissionError
        return real(*arguments, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert cached("models", "old") == old
    assert make("new").is_relative_to(home.parent / "tmp")


def test_a_cache_that_is_a_file_is_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    assert make().is_relative_to(home.parent / "tmp")


def test_no_place_at_all_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(home / "file" / "tmp"))
    with pytest.raises(InputError, match=r"none can be written \(.*file.*\); set XDG_CACHE_HOME to one"):
        make()


def test_the_temporary_folder_of_somebody_else_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "tmp" / "erase-concept-77777").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 77777)
    assert cache_places("models") == [home / ".cache/erase-concept/models"]
