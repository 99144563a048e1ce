"""Kind of table or figure -> what makes it."""

from __future__ import annotations

from collections.abc import Sequence

from erase.errors import InputError
from erase.pipeline.job import Show
from eval.bench.paper.items import Item
from eval.bench.paper.plan import PlannedCell, Reproduction
from eval.bench.paper.result import Result


def make(item: Item, options: Reproduction, cells: Sequence[PlannedCell], runs: Sequence[str], show: Show) -> Result:
    """Run what is missing, and put the table or figure together."""
    if item.kind == "table":
        from eval.bench.paper.cells import run_cells
        from eval.bench.paper.table import table

        return table(item, options, run_cells(item, options, cells, show))
    raise InputError(f"{item.name} cannot be made yet")
