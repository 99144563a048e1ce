"""Images that are handed in: good ones become a folder of the form, whatever else is refused in one line and leaves nothing on the disk."""

from __future__ import annotations

import io
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_runs import erased_run
from PIL import Image

import ui.web.erase.uploads as module
from erase.errors import InputError
from erase.images import picture_paths
from ui.web.context import Page
from ui.web.erase.uploads import KEPT, MOST, remove, taken, tidy, uploads
from ui.web.jobs.queue import Jobs


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Jobs(tmp_path / "runs") as jobs:
        yield Page(tmp_path / "runs", jobs, None, device="cpu")  # type: ignore[arg-type]


def png(size: tuple[int, int] = (8, 6), colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def huge() -> bytes:
    """A PNG of some bytes that claims 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def left(page: Page) -> list[Path]:
    return list(uploads(page).rglob("*")) if uploads(page).exists() else []


def test_images_become_a_folder_that_the_form_may_read(page, tmp_path):
    files = [tmp_path / "one.png", tmp_path / "two.jpg"]
    files[0].write_bytes(png((3000, 20)))
    Image.new("RGB", (8, 6), "blue").save(files[1])
    text, count = taken(page, files)
    folder = page.inside(text)
    assert (count, [path.name for path in picture_paths(folder)]) == (2, ["00000.png", "00001.png"])
    assert Image.open(folder / "00000.png").size == (1536, 10)
    assert not any(file.exists() for file in files)
    assert list(uploads(page).iterdir()) == [folder]


def test_a_zip_of_images_too(page, tmp_path):
    text, count = taken(page, [zipped(tmp_path / "a.zip", {"b.png": png(), "a.png": png(colour="green")})])
    assert count == 2
    assert Image.open(page.inside(text) / "00001.png").getpixel((0, 0)) == (0, 128, 0)


def many(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{i}.png" for i in range(MOST + 1)]
    for file in files:
        file.touch()
    return files


def named(tmp_path: Path, name: str, data: bytes) -> list[Path]:
    (tmp_path / name).write_bytes(data)
    return [tmp_path / name]


def link(tmp_path: Path) -> list[Path]:
    member = zipfile.ZipInfo("x.png")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    return [tmp_path / "l.zip"]


def lying(tmp_path: Path) -> list[Path]:
    """A zip bomb whose list of contents claims ten bytes."""
    path = zipped(tmp_path / "bomb.zip", {"x.png": b"\0" * (21 * 2**20)})
    data = path.read_bytes().replace(struct.pack("<I", 21 * 2**20), struct.pack("<I", 10))
    path.write_bytes(data)
    return [path]


def cut(tmp_path: Path) -> list[Path]:
    path = zipped(tmp_path / "cut.zip", {"x.png": png()})
    path.write_bytes(path.read_bytes()[:-30])
    return [path]


def sparse(tmp_path: Path) -> list[Path]:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2 * 2**30)
    return [tmp_path / "large.png"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (many, "501 files were given; expected at most 500"),
        (sparse, "2048 MiB; expected at most 256"),
        (lambda t: [], "no image was given"),
        (lambda t: named(t, "x.png", b"hello, I am text\n" * 9), "'x.png' is not a complete image"),
        (lambda t: named(t, "x.txt", png()), "'x.txt' is not an image"),
        (lambda t: named(t, "x.svg", b"<svg onload='alert(1)'/>"), "'x.svg' is not an image"),
        (lambda t: named(t, "x.png", png()[:45]), "not a complete image"),
        (lambda t: named(t, "x.png", huge()), "'x.png' has 2500 million pixels; expected at most 40"),
        (lambda t: [zipped(t / "a.zip", {}), *named(t, "x.png", png())], "'a.zip' is a zip; give it alone"),
        (lambda t: [zipped(t / "a.zip", {})], "no image was given"),
        (lambda t: [zipped(t / "a.zip", {f"{i}.png": b"" for i in range(10_000)})], "too many files; expected at most 500"),
        (lambda t: [zipped(t / "a.zip", {"../x.png": png()})], r"'../x.png', a folder or a path"),
        (lambda t: [zipped(t / "a.zip", {"/tmp/x.png": png()})], "a folder or a path"),
        (lambda t: [zipped(t / "a.zip", {"..\\x.png": png()})], "a folder or a path"),
        (lambda t: [zipped(t / "a.zip", {"in/x.png": png()})], "a folder or a path"),
        (lambda t: [zipped(t / "a.zip", {".x.png": png()})], "a folder or a path"),
        (lambda t: [zipped(t / "a.zip", {"x.png": png(), "y.png": b"text"})], "'y.png' is not a complete image"),
        (lambda t: [zipped(t / "a.zip", {"x.py": b"print(1)"})], "'x.py' is not an image"),
        (lambda t: [zipped(t / "a.zip", {"x.png": huge()})], "2500 million pixels"),
        (lambda t: [zipped(t / "a.zip", {"x.png": b"\0" * (21 * 2**20)})], "larger than 20 MiB"),
        (lambda t: [zipped(t / "a.zip", {"x.png": png()}, zipfile.ZIP_BZIP2)], "packed in an unusual way"),
        (lambda t: named(t, "a.zip", b"no zip at all"), "not a zip that can be read"),
        (cut, "not a zip that can be read"),
        (lying, "not a zip that can be read|not a complete image"),
        (link, "not a complete image"),
    ],
)
def test_everything_else_is_refused_in_one_line_and_leaves_nothing(page, tmp_path, made, said):
    files = made(tmp_path)
    with pytest.raises(InputError, match=said) as error:
        taken(page, files)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert left(page) == []
    assert not any(file.exists() for file in files)


def test_what_is_large_only_together_is_refused_too(page, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNPACKED_BYTES", 2**20)
    members = {f"{i}.png": b"\0" * 2**19 for i in range(3)}
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        taken(page, [zipped(tmp_path / "a.zip", members)])
    monkeypatch.setattr(module, "PIXELS", 100)
    with pytest.raises(InputError, match="pixels together"):
        taken(page, named(tmp_path, "x.png", png()) + named(tmp_path, "y.png", png((10, 10))))
    assert left(page) == []


def test_they_go_with_their_run_unless_another_uses_them(page, tmp_path):
    text, _ = taken(page, named(tmp_path, "x.png", png()))
    folder = page.inside(text)
    one = erased_run(page.runs, "star-demo-1", forget_images=str(folder))
    two = erased_run(page.runs, "star-demo-2", forget_images=str(folder))
    remove(page, one)
    assert folder.is_dir()
    (one / "options.json").unlink()
    remove(page, two)
    assert not folder.exists()
    other = erased_run(page.runs, "star-demo-3", forget_images=str(tmp_path))
    remove(page, other)
    assert tmp_path.is_dir()


def test_what_no_run_uses_goes_after_a_day(page, tmp_path):
    texts = [taken(page, named(tmp_path, "x.png", png()))[0] for _ in range(3)]
    folders = [page.inside(text) for text in texts]
    erased_run(page.runs, "star-demo-1", forget_images=str(folders[0]))
    for folder in folders[:2]:
        os.utime(folder, (0, time.time() - KEPT - 9))
    tidy(page)
    assert [folder.exists() for folder in folders] == [True, False, True]
