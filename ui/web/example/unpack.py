"""The finished run that comes with the package, put among the visitor's runs when the page is opened for the first time.

The archive has what the command has written, but of the model only the tensors that were changed: the others are those of the embedded
model. Once it was there and is gone, somebody has deleted it, and it does not come back.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError
from erase.files import sha256, temporary, written
from ui.web.example.difference import restored

ARCHIVE = Path(__file__).parent / "beer-mug.zip"
NAME = "example-beer-mug"  # of its folder
FACTS = "example.json"  # in it: what marks it as the example
DIFFERENCE = ".difference"  # behind the name of a file of which only the changed tensors are packed
GIVEN = "example"  # in the page's own folder: that it was put there once
MODEL = "model"


def offer(runs: Path, home: Path, archive: Path = ARCHIVE) -> Path | None:
    """Put the example into a folder of runs, unless it was there before; None where it was, or cannot be written.

    `home`: where the page keeps what it knows of these runs.
    """
    folder, given = runs / NAME, home / GIVEN
    if folder.exists() or given.exists() or not archive.is_file():
        return None
    part = temporary(folder)
    try:
        unpack(archive, part)
        with written(given) as mark:
            mark.write_text(sha256(archive), encoding="utf-8")
        part.rename(folder)
    except (OSError, InputError, zipfile.BadZipFile):  # a full disk, for instance: the page works without it
        with suppress(OSError):
            given.unlink(missing_ok=True)
        return None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def is_example(folder: Path) -> bool:
    """Whether a run folder is the one that comes with the package."""
    return (folder / FACTS).is_file()


def unpack(archive: Path, folder: Path) -> None:
    """The run as it was, with its whole model. InputError where the embedded model is another than that of the run."""
    with zipfile.ZipFile(archive) as file:
        facts = json.loads(file.read(FACTS))
        if facts["model"] not in EMBEDDED:
            raise InputError(f"{facts['model']} is not an embedded model; expected {' or '.join(EMBEDDED)}")
        base = KNOWN_MODELS[facts["model"]].pipeline
        shutil.copytree(base, folder / MODEL, copy_function=shutil.copyfile)
        for name in file.namelist():
            _write(folder, name, file.read(name), base)
    _check(folder, facts)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (facts["finished"], facts["finished"]))


def _write(folder: Path, name: str, data: bytes, base: Path) -> None:
    if name.endswith(DIFFERENCE):
        name = name.removesuffix(DIFFERENCE)
        data = restored((base / Path(name).relative_to(MODEL)).read_bytes(), data)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _check(folder: Path, facts: Mapping[str, Any]) -> None:
    for name, digest in facts["sha256"].items():
        if sha256(folder / name) != digest:
            raise InputError(f"{name} of the example is not what the run has written: the embedded model is another one")
