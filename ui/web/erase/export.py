"""A finished run's model as a file to download. The command does the work; knows no gradio."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from uuid import uuid4

from erase.errors import InputError
from erase.files import written
from erase.run import disk_errors
from ui.web.jobs.process import command

FORMATS = {
    "folder": "A folder for diffusers, as .zip",
    "single-file": "One .safetensors file in the original layout, for most programs",
    "unet": "The changed UNet alone, .safetensors",
}
DTYPES = {"source": "as the source has them", "float16": "float16", "float32": "float32"}
SECONDS = 1800.0
KEPT = 3  # exports that lie ready to be fetched; the oldest go first


def export(run: Path, form: str, dtype: str, home: Path) -> Path:
    """Write `run`'s model into a new folder of `home`, which nobody can guess the name of; returns the file.

    InputError with what the command says, for instance where a format has no place for a part of the model.
    """
    if form not in FORMATS or dtype not in DTYPES:
        raise InputError(f"{form!r} in {dtype!r} is no export; expected one of {', '.join(FORMATS)} in one of {', '.join(DTYPES)}")
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"{run.name} has no model yet; wait until the job has ended")
    _make_room(home)
    folder = home / f"export-{uuid4().hex}"
    name = f"{run.name}{'' if dtype == 'source' else f'-{dtype}'}"
    target = folder / (name if form == "folder" else f"{name}.safetensors")
    with disk_errors(folder):
        folder.mkdir(parents=True)
        end = command(["export", str(run), "--format", form, "--dtype", dtype, "--output", str(target)], SECONDS)
        if end.status:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(_plain(end.message, run))
        return _zipped(target) if form == "folder" else target


def _plain(said: str, run: Path) -> str:
    """What the command says, in the words of the page and without the paths of the machine."""
    words = {str(run / "model"): "the model", f"{run.parent}{os.sep}": "", "give --format folder": "choose the folder"}
    for old, new in words.items():
        said = said.replace(old, new)
    return said


def _zipped(folder: Path) -> Path:
    """One file of a folder, not compressed: weights do not get smaller. The folder goes."""
    path = folder.with_name(f"{folder.name}.zip")
    with written(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def _make_room(home: Path) -> None:
    made = sorted(home.glob("export-*"), key=lambda path: path.stat().st_mtime)
    for folder in made[: max(0, len(made) - KEPT + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
