"""Turns on disk: a folder for each attack, subject and turn, either complete or absent.

record.json is written last and holds the key of everything that it depends on; with another key the turn counts as not done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from erase.files import read_object, write_json, write_tensors, written
from erase.files.disk import disk_errors

if TYPE_CHECKING:
    from torch import Tensor

RECORD, TENSORS = "record.json", "found.safetensors"


def place(home: Path, attack: str, subject: str, turn: int) -> Path:
    """The folder of a turn of an attack on a subject."""
    return home / attack / subject / f"{turn:04d}"


def key_of(**facts: Any) -> str:
    """A hash of everything that a result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def recall(folder: Path, key: str) -> dict[str, Any] | None:
    """The record of a turn, None where it is incomplete or has another key."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_object(path)
    return record if record.get("key") == key else None


def borrowed(folder: Path, others: Iterable[Path], key: str) -> dict[str, Any] | None:
    """Copy a turn from the first of the other folders that has it; None where none has."""
    for other in others:
        record = recall(other, key)
        if record is not None:
            part = folder.with_name(f".{folder.name}.part")
            with disk_errors(folder):
                for old in (part, folder):
                    shutil.rmtree(old, ignore_errors=True)
                shutil.copytree(other, part)
                part.rename(folder)
            return record
    return None


def recorded(folder: Path) -> dict[str, Any]:
    """The record of a complete turn."""
    return read_object(folder / RECORD)


def keep(folder: Path, record: Mapping[str, Any], images: Sequence[Image.Image], tensors: Mapping[str, Tensor]) -> None:
    """Write a turn: one image per attempt, the vectors or latents behind them, and then the record."""
    with disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
        for number, image in enumerate(images):
            with written(folder / picture_name(number)) as part:
                image.save(part, "PNG")
        if tensors:
            write_tensors(folder / TENSORS, {name: tensor.cpu() for name, tensor in tensors.items()})
        write_json(folder / RECORD, dict(record))


def picture_name(number: int) -> str:
    """The file name of an attempt's image, by its place in the turn."""
    return f"{number:02d}.png"
