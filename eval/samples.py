"""The samples of a run: evaluation prompts and the pictures made of them, checked to belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.images import Picture, read_images
from erase.run import read_lines

WHICH = ("before", "after")
ROLES = ("evaluate", "implicit", "evaluate-retain")
NO_SEED = -1  # of a picture that somebody else has drawn and does not say from what
ROW = {"text": str, "role": str, "attributes": dict, "seed": int}
REMEDY = "give the run's command again, it goes on where it stopped"

Row = Mapping[str, Any]


def prompts_file(folder: Path) -> Path:
    """Where a run folder has its evaluation prompts, the same for before and after."""
    return folder / "samples" / "prompts.jsonl"


def read_prompts(folder: Path) -> list[Row]:
    """The evaluation prompts (text, role, attributes, seed); line i belongs to picture i."""
    path = prompts_file(folder)
    rows = read_lines(path)
    if not rows:
        raise InputError(f"{path} {'is empty' if path.exists() else 'is not there'}, so there is nothing to evaluate; {REMEDY}")
    for number, row in enumerate(rows, 1):
        bad = [name for name, kind in ROW.items() if not isinstance(row.get(name), kind)]
        if bad or row["role"] not in ROLES:
            raise InputError(f"{path}, line {number}: {', '.join(bad) or 'role'} is missing or wrong; roles are {', '.join(ROLES)}")
    return list(rows)


def read_samples(folder: Path, rows: Sequence[Row]) -> list[Picture]:
    """An image set, every hash checked, that is of exactly these prompts and seeds."""
    pictures = read_images(folder)
    if len(pictures) != len(rows):
        raise InputError(f"{folder} holds {len(pictures)} pictures for {len(rows)} prompts; {REMEDY}")
    for picture, row in zip(pictures, rows, strict=True):
        if (picture.prompt, picture.seed) != (row["text"], row["seed"]):
            made, wanted = (f'"{text}" (seed {seed})' for text, seed in ((picture.prompt, picture.seed), (row["text"], row["seed"])))
            raise InputError(f"{picture.path} was made of {made}, but its prompt is {wanted}; start the run anew with --overwrite")
    return pictures
