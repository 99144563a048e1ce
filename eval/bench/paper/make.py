"""Kind of table or figure -> what makes it."""

from __future__ import annotations

from collections.abc import Sequence

from erase.pipeline.job import Show
from eval.bench.paper.items import Item
from eval.bench.paper.plan import PlannedCell, Reproduction, folder_of
from eval.bench.paper.result import Result


def make(item: Item, options: Reproduction, cells: Sequence[PlannedCell], runs: Sequence[str], show: Show) -> Result:
    """Run what is missing, and put the table or figure together. InputError for the user's mistakes."""
    if cells:
        return _trained(item, options, cells, show)
    return _from_runs(item, options, runs)


def _from_runs(item: Item, options: Reproduction, texts: Sequence[str]) -> Result:
    """The folder may hold the same figure of other runs, which is replaced, and nothing else."""
    from erase.run import Run
    from eval.bench.paper.detections import detections
    from eval.bench.paper.finished import finished_runs
    from eval.bench.paper.grids import flagged, grid
    from eval.bench.paper.measures import measures

    runs = finished_runs(item, texts)
    with Run.open(folder_of(item, options), {"kind": "reproduction", "item": item.name}, options.overwrite) as run:
        if item.kind == "measures":
            return measures(item, runs)
        if item.kind == "detections":
            return detections(item, runs)
        return (grid if item.kind == "grid" else flagged)(item, options, runs, run.folder)


def _trained(item: Item, options: Reproduction, cells: Sequence[PlannedCell], show: Show) -> Result:
    from eval.bench.paper.cells import run_cells
    from eval.bench.paper.curves import attention, curves
    from eval.bench.paper.table import table

    finished = run_cells(item, options, cells, show)
    return {"table": table, "curves": curves, "gradcam": attention}[item.kind](item, options, finished)
