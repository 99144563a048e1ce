"""Image sets that several runs share: drawn in one place under a name that says of what, and linked from there.

A file that is linked is never written to: everything here writes beside and renames.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import sha256
from erase.files.disk import disk_errors
from erase.images import MANIFEST
from erase.run import read_lines


def set_name(drawn_with: Mapping[str, Any], prompts: Sequence[str], seeds: int | Sequence[int]) -> str:
    """The name of an image set: sets of the same prompts and seeds, drawn with the same, have the same name."""
    each = [seeds] * len(prompts) if isinstance(seeds, int) else list(seeds)
    text = json.dumps([drawn_with, list(prompts), each], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def link_images(source: Path, folder: Path) -> None:
    """`folder` becomes the same image set as `source`: the same files, or copies where links cannot be; the manifest last."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for record in read_lines(source / MANIFEST):
            _link(source / record["file"], folder / record["file"], record["sha256"])
        shutil.copyfile(source / MANIFEST, folder / f".{MANIFEST}.part")
        (folder / f".{MANIFEST}.part").replace(folder / MANIFEST)


def _link(source: Path, target: Path, digest: str) -> None:
    if target.exists() and sha256(target) == digest:
        return
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, part)
    part.replace(target)
