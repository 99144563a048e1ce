"""Images that a visitor uploads: single files, or one zip. They are checked, decoded and saved again; the uploaded files are deleted.

Bounded in every direction: files, bytes packed and unpacked, pixels of an image and of all. A refused upload leaves nothing on the disk.
"""

from __future__ import annotations

import re
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from PIL import Image

from erase.errors import InputError
from erase.files import read_object
from erase.files.disk import disk_errors
from erase.run import list_runs
from ui.web.context import Page
from ui.web.security.access import HANDED_IN_BYTES, UPLOAD_BYTES, uploaded

MOST = 500  # images of one hand-in
UNPACKED_BYTES = 512 * 2**20  # of what is in a zip
PIXELS = 2_000_000_000  # of all images together
SIDE = 1536  # pixels of an image's longer side that are kept; models draw at most 1024
DIRECTORY_BYTES = 2**20  # of a zip's list of its contents, which is read whole
KEPT = 24 * 3600.0  # seconds that images stay which no run uses
HASH = re.compile(r"[0-9a-f]{64}")
PLAIN = re.compile(r"[^\\/:\x00-\x1f]{1,200}")


def taken(page: Page, files: Sequence[Path]) -> tuple[str, int]:
    """The images of a hand-in as a folder for `Images of the concept`: what to type for it, and how many there are. The files are removed.

    InputError, by the name of the file, for the first that is not what it should be.
    """
    try:
        _check(files)
        home = uploads(page)
        tidy(page)
        with disk_errors(home, resumes=False), _new_folder(home) as folder:
            count = _written(files, folder / "images", folder / "raw")
            final = home / uuid4().hex
            (folder / "images").rename(final)
        return f".ui/uploads/{final.name}", count
    finally:
        for file in files:
            file.unlink(missing_ok=True)
            if HASH.fullmatch(file.parent.name):  # the folder in which it arrived
                with suppress(OSError):
                    file.parent.rmdir()


def uploads(page: Page) -> Path:
    """The folder of all hand-ins."""
    return page.jobs.home / "uploads"


def remove(page: Page, run: Path) -> None:
    """Remove the images that were handed in for a run that is being deleted, unless another run or job uses them."""
    try:
        place = Path(str(read_object(run / "options.json").get("forget_images") or "")).resolve()
    except (OSError, ValueError):
        return
    if place.parent == uploads(page).resolve() and place not in _used(page, without=run):
        shutil.rmtree(place, ignore_errors=True)


def tidy(page: Page) -> None:
    """Remove what was handed in long ago and is used by no run and no job."""
    used = _used(page)
    for folder in uploads(page).glob("*"):
        if folder.resolve() not in used and folder.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(folder, ignore_errors=True)


def _used(page: Page, without: Path | None = None) -> set[Path]:
    paths = set()
    for run in list_runs(page.runs):
        if run != without and (place := read_object(run / "options.json").get("forget_images")):
            paths.add(Path(str(place)).resolve())
    flags = [
        flag for entry in page.jobs.entries() if without is None or entry.run.resolve() != without.resolve() for flag in entry.arguments
    ]
    return paths | {Path(flag.partition("=")[2]).resolve() for flag in flags if flag.startswith("--forget-images=")}


def _check(files: Sequence[Path]) -> None:
    if len(files) > MOST:
        raise InputError(f"{len(files)} files were given; expected at most {MOST}")
    if (size := sum(file.stat().st_size for file in files)) > HANDED_IN_BYTES:
        raise InputError(f"the files have {size / 2**20:.0f} MiB; expected at most {HANDED_IN_BYTES // 2**20} together")
    zips = [file for file in files if _is_zip(file)]
    if zips and len(files) > 1:
        raise InputError(f"{zips[0].name[:80]!r} is a zip; give it alone, or images")


def _is_zip(file: Path) -> bool:
    return file.suffix.lower() == ".zip"


@contextmanager
def _new_folder(home: Path) -> Iterator[Path]:
    """A folder for the time of checking, which is removed with all that is still in it."""
    folder = home / f".{uuid4().hex}.part"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(files: Sequence[Path], target: Path, raw: Path) -> int:
    """Write every image as PNG into `target`; returns how many there are. `raw`: for one member of a zip after another."""
    target.mkdir()
    raw.mkdir()
    pixels = count = 0
    for path in _members(files[0], raw) if files and _is_zip(files[0]) else files:
        image = uploaded(path)
        pixels += image.width * image.height
        if pixels > PIXELS:
            raise InputError(f"the images have more than {PIXELS // 10**6} million pixels together; give fewer or smaller ones")
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        image.save(target / f"{count:05d}.png")
        path.unlink(missing_ok=True)
        count += 1
    if not count:
        raise InputError("no image was given; expected image files, or a zip of them")
    return count


def _members(path: Path, raw: Path) -> Iterator[Path]:
    """The members of a zip, one after another as a file of its own name; each is removed before the next."""
    name = repr(path.name[:80])
    _check_directory(path, name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, name)
            for member in members:
                file = raw / member.filename
                with archive.open(member) as packed, file.open("wb") as out:
                    data = packed.read(UPLOAD_BYTES + 1)
                    if len(data) > UPLOAD_BYTES:
                        raise InputError(f"{member.filename[:80]!r} in {name} is larger than {UPLOAD_BYTES // 2**20} MiB")
                    out.write(data)
                yield file
                file.unlink(missing_ok=True)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not a zip that can be read; pack it again") from error


def _check_directory(path: Path, name: str) -> None:
    """InputError for a zip whose list of contents is larger than any list of MOST names: zipfile would read it whole."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 66_000))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise InputError(f"{name} is not a zip that can be read; pack it again")
    entries, size = int.from_bytes(tail[end + 10 : end + 12], "little"), int.from_bytes(tail[end + 12 : end + 16], "little")
    if entries > MOST or size > DIRECTORY_BYTES or b"PK\x06\x07" in tail[:end]:
        raise InputError(f"{name} has too many files; expected at most {MOST} images")


def _check_members(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    if len(members) > MOST:
        raise InputError(f"{name} has {len(members)} files; expected at most {MOST}")
    for member in members:
        text = member.filename
        if member.is_dir() or not PLAIN.fullmatch(text) or text.startswith("."):
            raise InputError(f"{name} has {text[:80]!r}, a folder or a path; expected images alone, without folders")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{text[:80]!r} in {name} is encrypted or packed in an unusual way; pack it as an ordinary zip")
        if member.file_size > UPLOAD_BYTES:
            raise InputError(f"{text[:80]!r} in {name} is larger than {UPLOAD_BYTES // 2**20} MiB")
    if sum(member.file_size for member in members) > UNPACKED_BYTES:
        raise InputError(f"{name} unpacks to more than {UNPACKED_BYTES // 2**20} MiB; give fewer or smaller images")
