"""Folders in the cache that single files were unpacked into: their names, and how one is found again."""

from __future__ import annotations

import glob
import hashlib
import json
from pathlib import Path

from erase.checkpoints.safetensors_header import metadata
from erase.files.cache import cache_places, whole
from erase.run import package_version

KIND = "models"  # of cache
CONVERTERS = ("erase-concept", "diffusers", "transformers")
CONVERSION = 1  # one more with every change of what is written for the same file


def key(*facts: object) -> str:
    """A short hash of everything that decides what is in a folder."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def folder_name(path: Path, digest: str, *facts: object) -> str:
    """The name of a file's folder, without what other folders it is made with: by its name, its hash, options and versions."""
    return f"{path.stem[:60]}-{key(path.name, digest, *facts, *(package_version(each) for each in CONVERTERS), CONVERSION)}"


def only_folder(name: str) -> Path | None:
    """The one whole folder whose name begins so; None where there are several, made with other folders."""
    folders = {path.name: path for place in cache_places(KIND) for path in place.glob(f"{glob.escape(name)}-*") if whole(path)}
    return next(iter(folders.values())) if len(folders) == 1 else None


def origin_of(path: Path, digest: str) -> dict[str, str]:
    """What a folder records of the file: its metadata, name and hash."""
    return {**{k: v for k, v in metadata(path).items() if k != "format"}, "single_file": path.name, "single_file_sha256": digest}
