"""Files that are complete or absent, because they are written under a temporary name and then renamed; and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from erase.files.outputs import check_file, check_folder, check_replaceable, real_path, user_path
from erase.files.reading import parse_json, read_json, read_object, read_text, read_toml

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "check_file",
    "check_folder",
    "check_replaceable",
    "parse_json",
    "read_json",
    "read_object",
    "read_text",
    "read_toml",
    "real_path",
    "sha256",
    "user_path",
    "write_json",
    "write_tensors",
    "written",
]  # fmt: skip


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it becomes `path`, on failure it is removed.

    InputError where `path` is a folder or a device: a rename would put the file in its place.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON in UTF-8, whatever the locale, with an indent of one."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file."""
    from safetensors.torch import save_file

    with written(path) as part:
        part.touch()
        mode = part.stat().st_mode  # of the user's umask; safetensors would make the file unreadable for everybody else
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, dict(metadata or {}))
        part.chmod(mode)


def sha256(path: Path) -> str:
    """Hash of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: BinaryIO) -> str:
    """hashlib.file_digest for Python 3.10."""
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()
