"""The samples of a run: evaluation prompts and the images generated from them, checked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import scheduler_of
from erase.errors import InputError
from erase.images import Picture, read_images
from erase.run import Run, read_lines

WHICH = ("before", "after")
ROLES = ("evaluate", "implicit", "evaluate-retain")
NO_SEED = -1  # of an image of the user, whose seed is not known
ROW = {"text": str, "role": str, "attributes": dict, "seed": int}
REMEDY = "give the run's command again, it resumes where it stopped"

Row = Mapping[str, Any]


def prompts_file(folder: Path) -> Path:
    """The file of a run folder's evaluation prompts, the same for before and after."""
    return folder / "samples" / "prompts.jsonl"


def read_prompts(folder: Path) -> list[Row]:
    """The evaluation prompts (text, role, attributes, seed, perhaps guidance); line i belongs to picture i."""
    path = prompts_file(folder)
    rows = read_lines(path, None)
    if not rows:
        raise InputError(f"{path} {'is empty' if path.exists() else 'is not there'}, so there is nothing to evaluate; {REMEDY}")
    for number, row in enumerate(rows, 1):
        bad = [name for name, kind in ROW.items() if not isinstance(row.get(name), kind)]
        if "guidance" in row and not (type(row["guidance"]) in (int, float) and 0 <= row["guidance"] < math.inf):
            bad.append("guidance")
        if bad or row["role"] not in ROLES:
            raise InputError(f"{path}, line {number}: {', '.join(bad) or 'role'} is missing or wrong; roles are {', '.join(ROLES)}")
    return list(rows)


def read_samples(folder: Path, rows: Sequence[Row]) -> list[Picture]:
    """An image set with every hash checked; InputError unless it is of exactly these prompts and seeds."""
    images = read_images(folder)
    if len(images) != len(rows):
        raise InputError(f"{folder} holds {len(images)} images for {len(rows)} prompts; {REMEDY}")
    for image, row in zip(images, rows, strict=True):
        if (image.prompt, image.seed) != (row["text"], row["seed"]):
            actual, expected = (f'"{text}" (seed {seed})' for text, seed in ((image.prompt, image.seed), (row["text"], row["seed"])))
            raise InputError(f"{image.path} is of {actual}, but its prompt is {expected}; start the run again with --overwrite")
    return images


def scales_of(rows: Sequence[Row], scale: float) -> list[float]:
    """The guidance scale of each row: its own, else this one."""
    return [float(row.get("guidance", scale)) for row in rows]


def scheduler_for(run: Run, model: Path) -> str | None:
    """The scheduler with which to draw from a model as the run's images were drawn; None for the model's own.

    A job records the class in the model's scheduler_config.json, which may differ from the one in model_index.json that draws.
    """
    name: str | None = run.options["sampling"].get("scheduler")
    return None if name == scheduler_of(model) else name


def samples_of(run: Run, which: str, rows: Sequence[Row]) -> list[Picture]:
    """The images of a run, or the user's images that an evaluation measures; `which` is "before" or "after"."""
    if folders := run.options.get("folders"):
        images = read_images(Path(folders[which]), default_caption="", leave_out=folders["left_out"])
        if len(images) != len(rows):
            raise InputError(f"{folders[which]} holds {len(images)} images to measure for {len(rows)} prompts; {REMEDY}")
        return images
    return read_samples(run.samples(which), rows)
