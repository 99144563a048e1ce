"""Folders that are made from a file once and kept for the next time: where they lie, and whether they are still whole.

A folder counts as whole while every file that was written is there in its size: cleaners delete some files and leave others. Where
there is no home folder, or none that can be written, the system's temporary folder takes its place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from erase.errors import InputError
from erase.files import read_json, remove_leftovers, sync, temporary, write_json
from erase.files.disk import disk_errors

LISTING = ".files.json"


def cache_places(kind: str) -> list[Path]:
    """Folders of this kind of cache, the best first: of XDG_CACHE_HOME, of the home folder, of the system's temporary folder."""
    places = [Path(base)] if (base := os.environ.get("XDG_CACHE_HOME")) else []
    if not places:
        with suppress(RuntimeError):  # no HOME, and a user that the system does not know
            places = [Path.home() / ".cache"]
    with suppress(OSError):  # no folder for temporary files
        user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        places.append(Path(tempfile.gettempdir()) / f"erase-concept-{user}")
    return [place / "erase-concept" / kind for place in places if _is_ours(place)]


def whole(folder: Path) -> bool:
    """Whether a cached folder has every file in the size that was written."""
    try:
        sizes = read_json(_listing(folder))
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def cached(kind: str, name: str) -> Path | None:
    """The whole folder of this name in one of the places."""
    return next((place / name for place in cache_places(kind) if whole(place / name)), None)


@contextmanager
def making(kind: str, name: str) -> Iterator[tuple[Path, Path]]:
    """A temporary folder to fill, and the name that it gets on success. On failure it is removed.

    What is left of an earlier folder of this name is replaced, unless another process has made it whole by then. InputError where
    no place can be written.
    """
    place = _writable(kind)
    folder = place / name
    part, old = temporary(folder), temporary(folder)
    remove_leftovers(place)
    try:
        with disk_errors(folder, resumes=False):
            part.mkdir()
            yield part, folder
            sizes = {path.relative_to(part).as_posix(): path.stat().st_size for path in sorted(part.rglob("*")) if path.is_file()}
            sync(part)
            if not whole(folder):
                if folder.exists():
                    folder.rename(old)
                try:
                    part.rename(folder)
                except OSError:
                    if not folder.is_dir():  # another process has just put the same there
                        raise
                write_json(_listing(folder), sizes)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _listing(folder: Path) -> Path:
    """Beside the folder: nothing in it is for us alone."""
    return folder.with_name(folder.name + LISTING)


def _writable(kind: str) -> Path:
    """The first of the places that exists or can be made, and in which a file can be made."""
    places = cache_places(kind)
    for place in places:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=place):
                return place
    tried = ", ".join(map(str, places)) or "no home folder and no folder for temporary files"
    raise InputError(f"a folder for unpacked checkpoints is needed and none can be written ({tried}); set XDG_CACHE_HOME to one")


def _is_ours(place: Path) -> bool:
    """False for a folder of another user: in a temporary folder anybody may have made it."""
    try:
        return not hasattr(os, "getuid") or not place.name.startswith("erase-concept-") or place.lstat().st_uid == os.getuid()
    except OSError:  # it does not exist yet
        return True
