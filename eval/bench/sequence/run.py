"""Run a sequence: each step is an ordinary run that starts from the last one's model; after each, all concepts are measured.

The measurement has the same prompts for all steps, and compares with the original: images that name each concept of the sequence, those
to come included, and images of other things. Finished work is not repeated. A step that raises ends its row; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from erase.concepts.several import JOINT
from erase.errors import InputError
from erase.methods.spec import Entry
from erase.pipeline import erase_concept
from erase.pipeline.job import Event, Show
from erase.processes import processes
from erase.run import Run
from eval.bench.cells import one_line
from eval.bench.plan import slug
from eval.bench.sequence.plan import OWN_COUNT, Plan
from eval.evaluate import evaluate
from eval.measurement.drawing import copy_images
from eval.options import Evaluation


@dataclass(frozen=True)
class StepCell:
    """One step of a row on one seed: its run, its measurement, and why it has none."""

    label: str
    seed: int
    step: int
    folder: Path
    measured: Path
    failure: str | None = None


def sequence(plan: Plan, folder: Path, show: Show | None = None, overwrite: bool = False) -> list[StepCell]:
    """Run the missing steps, measure each, and return all. InputError for a folder with another sequence."""
    report: Show = show or (lambda event: None)
    if processes()[1] > 1:
        raise InputError("a sequence is one process, and several were started together; give the command without `accelerate launch`")
    cells: list[StepCell] = []
    with Run.open(folder, plan.options(), overwrite):
        for seed in plan.bench.seeds:
            for row in plan.bench.rows:
                cells += _row(plan, row, seed, folder, report)
    return cells


def _row(plan: Plan, row: Entry, seed: int, home: Path, show: Show) -> Iterator[StepCell]:
    """The steps of one row on one seed, up to the first that fails."""
    model = str(plan.job.model)
    for step, names in enumerate(plan.steps):
        run = home / "runs" / slug(seed, row.label) / slug(step + 1, *names)
        cell = StepCell(row.label, seed, step, run, home / "measured" / slug(seed, row.label) / run.name)
        show(Event(f"{JOINT.join(names)}, seed {seed}", 0, 0, note=f"{row.label}, step {step + 1} of {len(plan.steps)}"))
        job = replace(plan.job, concepts=names, seed=seed, output=str(run), evaluate_count=OWN_COUNT)
        try:
            erase_concept(replace(job, model=model, method=row.method, preset=row.preset), row.values, show, home / "pictures")
            _measure(plan, cell, home, show)
        except Exception as error:  # a plug-in may raise anything
            yield replace(cell, failure=one_line(error))
            return
        yield cell
        model = str(run)


def _measure(plan: Plan, cell: StepCell, home: Path, show: Show) -> None:
    """Measure a step's model against the original by the prompts of the whole sequence; the original's images are drawn once."""
    job, shared = plan.job, home / "measured" / "before"
    evaluation = Evaluation(
        str(cell.folder), str(job.model), JOINT.join(plan.titles), count=job.evaluate_count, output=str(cell.measured),
        steps=job.sampling_steps, guidance=job.guidance, size=job.size, batch=job.sampling_batch, device=job.device, dtype=job.dtype,
        tokenizer=job.tokenizer, parts=job.parts,
    )  # fmt: skip
    evaluate(evaluation, lambda stage, done, total: show(Event(f"measure: {stage}", done, total, folder=cell.measured)), shared)
    if not shared.is_dir():
        copy_images(Run.read(cell.measured).samples("before"), shared)
