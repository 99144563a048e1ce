"""A finished run's model as a file to download, written by the command. Plain functions, without gradio."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from erase.errors import InputError
from erase.files import written
from erase.files.disk import disk_errors
from ui.web.jobs.process import command
from ui.web.messages import labelled

FORMATS = {
    "folder": "A folder for diffusers, as .zip",
    "single-file": "One .safetensors file in the original layout, for most programs",
    "unet": "The changed network alone, .safetensors",
    "lora": "A LoRA for most programs",
    "diffusers-lora": "A LoRA for diffusers",
    "difference": "The exact difference",
}
SMALL = ("lora", "diffusers-lora", "difference")
DTYPES = {"source": "same as the source", "float16": "float16", "float32": "float32"}
LABELS = {"format": "Format", "dtype": "Precision"}
SECONDS = 1800.0
STORED = 3  # exports that stay ready for download; the oldest go first


class Exported(NamedTuple):
    """A file, and what the command says of it: of a small one its size, its rank, and how much of the change it keeps."""

    path: Path
    words: str


def export(run: Path, form: str, dtype: str, home: Path) -> Exported:
    """Write `run`'s model into a new folder of `home`, whose name nobody can guess.

    InputError with the command's message, for instance where a format has no place for a part of the model.
    """
    if form not in FORMATS or dtype not in DTYPES:
        raise InputError(
            f"{form!r} in {dtype!r} is not an export; expected one of {', '.join(FORMATS)} in one of {', '.join(DTYPES)}", option="format"
        )
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"{run.name} has no model yet; wait until the job has ended")
    _make_room(home)
    folder = home.resolve() / f"export-{uuid4().hex}"
    name = f"{run.name}{f'-{form}' if form in SMALL else ''}{'' if dtype == 'source' else f'-{dtype}'}"
    target = folder / (name if form == "folder" else f"{name}.safetensors")
    try:
        words = written_by_command(run, form, dtype, target)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Exported(_zipped(target) if form == "folder" else target, words)


def written_by_command(run: Path, form: str, dtype: str, target: Path) -> str:
    """Write one file, or a folder, into a folder that is made for it; returns the command's own words of it, without its path."""
    with disk_errors(target.parent, resumes=False):
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the folder of the runs, so that messages name the run and no path of the machine.
        arguments = ["export", run.name, "--format", form, "--dtype", dtype, "--output", str(target)]
        arguments += ["--no-measure"] if form in SMALL else []
        try:
            printed = command(arguments, SECONDS, folder=run.parent).check().printed
        except InputError as error:
            raise labelled(error, LABELS) from None
    return next(iter(printed.splitlines()), "").replace(str(target), target.name)


def _zipped(folder: Path) -> Path:
    """One file of a folder, not compressed: weights do not get smaller. The folder is removed."""
    path = folder.with_name(f"{folder.name}.zip")
    with written(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def _make_room(home: Path) -> None:
    exports = sorted(home.glob("export-*"), key=lambda path: path.stat().st_mtime)
    for folder in exports[: max(0, len(exports) - STORED + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
