"""Runs the cells of a table, each in a folder of its own. A cell that is finished is read, not run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from erase.diffusion import pick_device
from erase.pipeline.job import Show
from erase.run import Run
from eval.bench.paper.data import check_data
from eval.bench.paper.items import Item
from eval.bench.paper.plan import PlannedCell, Reproduction, folder_of
from eval.classifiers.measure import BASELINES, measurement, report_of
from eval.classifiers.report import write
from eval.classifiers.run import results, unlearn_all


@dataclass(frozen=True)
class FinishedCell:
    """A cell, the job with its folder, and the report of `classify` on it."""

    planned: PlannedCell
    job: Any
    report: dict[str, Any]

    @property
    def folder(self) -> Path:
        return Path(self.job.output)


def run_cells(item: Item, options: Reproduction, cells: Sequence[PlannedCell], show: Show) -> list[FinishedCell]:
    """Compute what is missing of every cell, in order.

    InputError: the user's mistakes, and a folder that holds another table or other settings.
    """
    folder = folder_of(item, options)
    missing = [cell for cell in cells if options.overwrite or not finished(cell, folder)]
    if missing and options.scale is None:
        check_data(item, options.data)
    record = {
        "kind": "reproduction", "item": item.name, "preset": options.preset, "scale": options.scale,
        "device": pick_device(options.device), "cells": {cell.cell.slug: cell.record() for cell in cells},
    }  # fmt: skip
    with Run.open(folder, record, options.overwrite) as run:
        return [_run(cell, run.folder, show) for cell in cells]


def finished(cell: PlannedCell, folder: Path) -> bool:
    """Whether every row of every seed has its result."""
    labels = [*BASELINES, *(entry.label for entry in cell.entries)]
    done = {(line["label"], line["seed"]) for line in results(folder / cell.cell.slug)}
    return done >= {(label, seed) for label in labels for seed in range(cell.job.seeds)}


def _run(cell: PlannedCell, folder: Path, show: Show) -> FinishedCell:
    job = replace(cell.job, output=str(folder / cell.cell.slug))
    place = folder / cell.cell.slug
    if not finished(cell, folder):
        unlearn_all(
            job,
            cell.entries,
            measurement(job.relearn, job.relearn_rate),
            lambda event: show(replace(event, stage=f"{cell.cell.title}: {event.stage}")),
        )
        write(place, report_of(place))
    return FinishedCell(cell, job, report_of(place))
