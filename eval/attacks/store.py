"""What was tried, on disk: a folder for each attack, subject and turn, complete or not there at all.

record.json is written last and names what it depends on; with anything else it counts as not done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from erase.files import write_json, write_tensors, written
from erase.run import disk_errors

if TYPE_CHECKING:
    from torch import Tensor

RECORD, FOUND = "record.json", "found.safetensors"


def place(home: Path, attack: str, subject: str, turn: int) -> Path:
    """Where a turn of an attack on a subject is."""
    return home / attack / subject / f"{turn:04d}"


def key_of(**facts: Any) -> str:
    """A short name for everything that a result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def recall(folder: Path, key: str) -> dict[str, Any] | None:
    """What was found in a turn, if it was ended and depends on the same."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record.get("key") == key else None


def borrowed(folder: Path, others: Iterable[Path], key: str) -> dict[str, Any] | None:
    """A turn that one of the other places has is copied here; None where none of them has it."""
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
    """What was found in a turn that is there."""
    return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))


def keep(folder: Path, record: Mapping[str, Any], images: Sequence[Image.Image], found: Mapping[str, Tensor]) -> None:
    """Write a turn: a picture an attempt, the vectors or latents behind them, and then the record."""
    with disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
        for number, image in enumerate(images):
            with written(folder / picture_name(number)) as part:
                image.save(part, "PNG")
        if found:
            write_tensors(folder / FOUND, {name: tensor.cpu() for name, tensor in found.items()})
        write_json(folder / RECORD, dict(record))


def picture_name(number: int) -> str:
    """Of an attempt, by its place in the turn."""
    return f"{number:02d}.png"
