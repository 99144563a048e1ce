"""Files that are complete or absent, because they are written under a temporary name and then renamed; and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from erase.errors import InputError
from erase.files.leftovers import remove_leftovers, temporary
from erase.files.outputs import check_file, check_folder, check_own_folder, check_replaceable, real_path, user_path
from erase.files.reading import parse_json, read_json, read_object, read_text, read_toml

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "check_file",
    "check_folder",
    "check_own_folder",
    "check_replaceable",
    "parse_json",
    "read_json",
    "read_object",
    "read_text",
    "read_toml",
    "real_path",
    "remove_leftovers",
    "sha256",
    "sync",
    "temporary",
    "user_path",
    "write_json",
    "write_tensors",
    "written",
]  # fmt: skip


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it becomes `path`, on failure it is removed.

    The name is of this call alone, so threads that write the same file do not disturb each other: the last one's is kept, whole. The
    content is on the disk before the file has its name; else a power failure could leave an empty file under the final name.
    InputError where `path` is a folder or a device: a rename would put the file in its place.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    try:
        yield part
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when the content of a file, or of all files in a folder, is on the disk, as far as the file system can tell."""
    if path.is_dir():
        for inner in path.iterdir():
            sync(inner)
    elif path.is_file():
        with path.open("rb+") as file:
            try:
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what a file system without fsync answers
                    raise


def write_json(path: Path, value: object) -> None:
    """Write JSON in UTF-8, whatever the locale, with an indent of one. InputError for a text that is no Unicode."""
    try:
        data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError as error:
        text = ascii(error.object[max(error.start - 40, 0) : error.end + 20])
        raise InputError(f"{text} holds a byte that is not UTF-8, as in a file name of another encoding; rename that file") from None
    with written(path) as part:
        part.write_bytes(data)


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
