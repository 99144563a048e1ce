"""Every method on every concept and seed of one model: one ordinary run folder each, images drawn once, and the gold standard.

Finished work is not repeated. A method that raises leaves a cell with the reason, and the others continue.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from erase.concepts import load_concept
from erase.errors import InputError
from erase.pipeline.job import Event, Show
from erase.processes import processes
from erase.run import Run
from eval.bench.cells import Cell, Measure, run_cell
from eval.bench.gold import gold_cell
from eval.bench.plan import Bench, filled, shared_options, slug
from eval.gold import gold_folder


def bench(plan: Bench, folder: Path, measure: Measure, show: Show | None = None, overwrite: bool = False) -> list[Cell]:
    """Run the missing cells and return all. `measure` is called with each finished run folder.

    InputError: unknown names, and a folder with a bench of other options.
    """
    report: Show = show or (lambda event: None)
    if processes()[1] > 1:
        raise InputError("a bench is one process, and several were started together; give the command without `accelerate launch`")
    plan = filled(plan, None if overwrite else folder)
    concepts = [load_concept(name, plan.job.model) for name in plan.concepts]
    golds = {name: gold_folder(path) for name, path in plan.gold.items()}
    cells: list[Cell] = []
    with Run.open(folder, shared_options(plan), overwrite):
        total = len(concepts) * len(plan.seeds) * len(plan.rows)
        for name, concept in zip(plan.concepts, concepts, strict=True):
            for seed in plan.seeds:
                job = replace(plan.job, concepts=(name,), seed=seed)
                for row in plan.rows:
                    run = folder / "runs" / slug(concept.name, seed, row.label)
                    report(Event(f"{concept.title}, seed {seed}", 0, 0, note=f"{row.label} ({len(cells) + 1} of {total})"))
                    cells.append(run_cell(plan, row, replace(job, output=str(run)), concept.name, folder, measure, report))
                if name in golds:
                    cells.append(gold_cell(plan, golds[name], job, concept, folder, measure, report))
    return cells
