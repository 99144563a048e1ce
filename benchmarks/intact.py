"""Whether the files of a folder are whole, and whether two folders hold the same results. Used after a kill; reads, never writes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError, safe_open

from erase.run import read_lines

TIMES = {"seconds", "peak_bytes", "peak", "environment", "resumed_in", "budget_seconds"}
"""Keys of records that may differ between two runs of one command: how long it took, with how much memory, and where."""

COMPARED = {".json", ".jsonl", ".png", ".safetensors", ".txt"}
"""Suffixes of the files whose content is compared; report pages and charts hold times, so only their presence is."""


def files(folder: Path) -> dict[str, Path]:
    """Every file by its name in the folder, without locks and temporary files; of a path that is a file, itself."""
    if folder.is_file():
        return {folder.name: folder}
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in sorted(names.items()) if not any(map(temporary, name.split("/")))}


def temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written."""
    return re.fullmatch(r"\..*\.part", name) is not None


def torn(folder: Path) -> list[str]:
    """The files that are incomplete under their final name."""
    return [name for name, path in files(folder).items() if not _whole(path)] if folder.exists() else []


def _whole(path: Path) -> bool:
    """A .jsonl file may end in a line that a kill has cut off: its readers leave that line out."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".jsonl":
            read_lines(path)
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
            return path.read_bytes()[-8:-4] == b"IEND"  # Pillow is content with all pixels
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    tensors.get_tensor(name)
        else:
            return path.stat().st_size > 0 or path.suffix not in {".html", ".svg", ".txt", ".md"}
    except (ValueError, OSError, SafetensorError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG
        return False
    return True


def differing(one: Path, other: Path) -> list[str]:
    """What two folders do not have in common: files of only one of them, and files with other content, times aside.

    Two files are compared byte for byte, whatever they are called.
    """
    if one.is_file() and other.is_file():
        return [] if one.read_bytes() == other.read_bytes() else [other.name]
    first, second = files(one), files(other)
    alone = sorted(first.keys() ^ second.keys())
    return alone + [name for name in sorted(first.keys() & second.keys()) if _content(first[name]) != _content(second[name])]


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [timeless(record) for record in read_lines(path)]
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix in COMPARED else path.name


def timeless(value: Any) -> Any:
    """A record without what depends on when and where it was made."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> Iterator[str]:
    """Temporary files and folders that a finished command has left."""
    for path in folder.rglob(".*.part") if folder.is_dir() else ():
        yield path.relative_to(folder).as_posix()
