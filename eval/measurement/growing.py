"""A measurement that gets more images: the rows of its prompts beyond those that are there, each with noise of its own.

The prompts of a role are the first of a longer list, so a larger measurement has those of a smaller one and more. New rows are appended,
since an image starts from the noise of (seed, its number): what was drawn stays, and what is new has noise that was not used yet.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.options import differences
from erase.run import Run, read_lines
from eval.options import Evaluation
from eval.samples import Row, prompts_file

ADDED = "count"  # of a row that was added later: the size that the measurement grew to
OWN = ("index", ADDED)  # what a file of prompts records of a row beside the row itself


def grown(old: Sequence[Row], rows: Sequence[Row], count: int) -> list[Row] | None:
    """`old` and what `rows`, the prompts of a measurement of `count` images, have beyond it; None where they are not the same prompts.

    Nothing is taken away: the prompts of a smaller measurement than `old` give `old`.
    """
    known, wanted = _by_kind(old), _by_kind(rows)
    if set(known) - set(wanted) or any(_differ(known.get(kind, []), listed) for kind, listed in wanted.items()):
        return None
    more = [row for kind, listed in wanted.items() for row in listed[len(known.get(kind, [])) :]]
    return [*old, *({"index": len(old) + i, **row, ADDED: count} for i, row in enumerate(more))]


def sizes(rows: Sequence[Row]) -> list[int]:
    """The sizes that a measurement by the concept's own prompts has had: the first, and those that it grew to."""
    first = rows[0]
    began = sum(row["role"] == "evaluate" and row.get("concept") == first.get("concept") and ADDED not in row for row in rows)
    return [began, *dict.fromkeys(int(row[ADDED]) for row in rows if ADDED in row)]


def size_of(folder: Path) -> int:
    """The size of a measurement by the concept's own prompts; 0 for a folder that has none."""
    rows = read_lines(prompts_file(folder), None)
    return max(sizes(rows)) if rows else 0


def repeated(job: Evaluation, folder: Path) -> str:
    """The command, or the commands one after another, that make a measurement of this folder again."""
    rows = read_lines(prompts_file(folder), None)
    if not any(ADDED in row for row in rows):
        return job.command() if job.count is None or job.protocol or not rows else replace(job, count=sizes(rows)[0]).command()
    return " && ".join(replace(job, count=count).command() for count in sizes(rows))


def free_folder(folder: Path, options: Mapping[str, Any], overwrite: bool, added: Mapping[str, Any]) -> Path:
    """The folder of a measurement where none was named: another one beside it, if it holds a measurement with other settings.

    `added`: as `differences` has it.
    """
    requested = json.loads(json.dumps(dict(options), default=str))
    places = [folder, *(folder.with_name(f"{folder.name}-{n}") for n in range(2, 100))]
    return next((place for place in places if overwrite or _takes(place, requested, added)), folder)


def _takes(folder: Path, requested: Mapping[str, Any], added: Mapping[str, Any]) -> bool:
    """Whether a folder is not there yet, or is a measurement with the same settings."""
    try:
        return not differences(Run.read(folder).options, requested, added)
    except InputError:
        return not folder.exists()


def _by_kind(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Role and concept -> its rows, without what the file records of them."""
    kinds: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[row["role"], row.get("concept")].append({name: value for name, value in row.items() if name not in OWN})
    return kinds


def _differ(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether neither list is the beginning of the other."""
    shorter = min(len(one), len(other))
    return list(one[:shorter]) != list(other[:shorter])
