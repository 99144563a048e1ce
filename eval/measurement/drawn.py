"""Images that were drawn already become an evaluation folder: the same files, measures and report as those of `erase-concept evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import sha256, written
from erase.files.disk import disk_errors
from erase.images import MANIFEST, open_picture
from erase.run import Run, lines_of
from eval.measurement.tools import tools_of
from eval.report import evaluate_run
from eval.samples import ROLES, WHICH, Row, prompts_file


def measure_drawn(folder: Path, options: Mapping[str, Any], rows: Sequence[Row], images: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Write the folder and measure it; returns the report.

    `options` are those of an evaluation (options.json), with the sampling that has drawn the images; `rows` the prompts with role,
    attributes and seed; `images` for "before" and "after" one PNG file a row. InputError where these do not belong together.
    """
    if any(row["role"] not in ROLES for row in rows) or not rows:
        raise InputError(f"a measurement needs prompts, each with one of the roles {', '.join(ROLES)}")
    for which in WHICH:
        if len(images[which]) != len(rows):
            raise InputError(f"there are {len(images[which])} images {which} the erasure for {len(rows)} prompts; expected one each")
    tools = tools_of(options)
    with Run.open(folder, options) as run, disk_errors(folder):
        for which in WHICH:
            _copy(run.samples(which), rows, images[which])
        with written(prompts_file(folder)) as part:
            part.write_text(lines_of({"index": i, **row} for i, row in enumerate(rows)), encoding="utf-8")
        return evaluate_run(folder, tools=tools)


def _copy(folder: Path, rows: Sequence[Row], images: Sequence[Path]) -> None:
    """An image set with its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, (row, source) in enumerate(zip(rows, images, strict=True)):
        open_picture(source)
        name = f"{i:05d}.png"
        with written(folder / name) as part:
            part.write_bytes(source.read_bytes())
        records.append({"file": name, "prompt": row["text"], "seed": row["seed"], "sha256": sha256(folder / name)})
    with written(folder / MANIFEST) as part:
        part.write_text(lines_of(records), encoding="utf-8")
