"""What a killed process was writing goes with the next that writes there; what a living one is writing stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from erase.files import remove_leftovers, temporary, written
from erase.files.leftovers import ABANDONED, TEMPORARY, alive, in_use
from erase.images import make_images
from erase.run import Run

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import sys
from pathlib import Path
from erase.files import temporary, written
folder = Path(sys.argv[1])
inner = temporary(folder / "model") / "unet"
inner.mkdir(parents=True)
(inner / "weights").touch()
with written(folder / "a.txt") as part:
    part.touch()
    print("writing", flush=True)
    sys.stdin.read()
"""


@contextmanager
def writing(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Within, another process is writing a file and a folder; it is killed at the end."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.part"))


def test_only_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    with writing(tmp_path):
        assert len(parts(tmp_path)) == 2
        assert all(in_use(path) for path in parts(tmp_path))
        remove_leftovers(tmp_path)
        assert len(parts(tmp_path)) == 2
    assert len(parts(tmp_path)) == 2
    assert not any(in_use(path) for path in parts(tmp_path))
    with written(tmp_path / "another.txt") as part:  # the first one here
        part.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["another.txt"]


def test_a_run_removes_the_files_of_a_dead_export_inside_it_and_beside_it_but_not_of_a_living_one(tmp_path: Path) -> None:
    """An export needs no lock, and people export into a run's folder."""
    Run.open(tmp_path / "run", {"a": 1}).close()
    (tmp_path / "run" / "images").mkdir()
    with writing(tmp_path / "run"), writing(tmp_path), writing(tmp_path / "run" / "images"):
        Run.open(tmp_path / "run", {"a": 1}).close()
        assert len(parts(tmp_path)) == 6
        make_images(tmp_path / "run" / "images", ["a"], 0, _black, 1)
        assert len(parts(tmp_path)) == 6
    Run.open(tmp_path / "run", {"a": 1}).close()
    assert parts(tmp_path) == []


def _black(prompts: list[str], _: object) -> list[object]:
    from PIL import Image

    return [Image.new("RGB", (8, 8)) for _ in prompts]


def test_a_process_of_another_machine_is_known_by_the_age_of_its_files_alone(tmp_path: Path) -> None:
    """Its number says nothing here: this process's own, for instance."""
    names = [f".{kind}.00000000-{os.getpid()}-0.part" for kind in ("new", "old")] + [".new.1.part", ".old.99999999999999999999-0.part"]
    for name in names:
        (tmp_path / name / "unet").mkdir(parents=True)
        if name.startswith(".old"):
            for path in (tmp_path / name / "unet", tmp_path / name):
                os.utime(path, (path.stat().st_mtime - ABANDONED - 60,) * 2)
    os.utime(tmp_path / names[0], (0, 0))  # what is in it is new
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for name in names if name.startswith(".new")}
    remove_leftovers(tmp_path / "absent")


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder for all, some leftovers are another user's."""
    names = [f".{name}.1-0.part" for name in "abc"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == names[1]:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [names[1]]


def test_files_with_other_names_are_not_ours_to_remove(tmp_path: Path) -> None:
    mine = temporary(tmp_path / "a")
    names = [mine.name, ".video.mp4.part", "model.1-0.part", ".notes.12.part.txt", ".part"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".link.1-0.part").symlink_to(ROOT)
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names, ".link.1-0.part"}


@pytest.mark.parametrize("name", ["a", "a.safetensors", "out.2", "a.12-3", "ü"])
def test_a_temporary_name_is_known_and_alone(name: str, tmp_path: Path) -> None:
    one, other = temporary(tmp_path / name), temporary(tmp_path / name)
    assert one != other
    match = TEMPORARY.fullmatch(one.name)
    assert match is not None
    assert (match["final"], match["pid"]) == (name, str(os.getpid()))
    assert not in_use(one)  # by another process


def test_a_number_without_a_process_is_dead() -> None:
    assert alive(os.getpid())
    assert alive(1)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not alive(process.pid)
