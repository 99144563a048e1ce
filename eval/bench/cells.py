"""A cell of a bench: one row on one concept and seed, as an ordinary run folder. A method that raises leaves a cell with a reason."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from erase.checkpoints.diff import changed_bytes
from erase.diffusion import locate
from erase.errors import InputError
from erase.methods.spec import Entry
from erase.pipeline import erase_concept
from erase.pipeline.job import STAGES, Job, Show
from erase.run import Run
from eval.bench.plan import Bench
from eval.bench.relearning import relearn_cell

LONGEST = 300  # maximum number of characters of a failure

Measure = Callable[[Path], None]


@dataclass(frozen=True)
class Cell:
    """One run. `failure` is the reason, in one line, why it has no result."""

    label: str
    concept: str
    seed: int
    folder: Path
    failure: str | None = None
    changed_bytes: int | None = None


def run_cell(plan: Bench, row: Entry, job: Job, concept: str, home: Path, measure: Measure, show: Show) -> Cell:
    """Run one cell, from the stage where it stopped to its numbers; `concept` is its plain name, `home` the folder of the bench."""
    folder = Path(str(job.output))

    def work() -> Path:
        erase_concept(replace(job, method=row.method, preset=row.preset), row.values, show, home / "pictures")
        relearn_cell(plan, job, folder, folder / "model", home, show)
        measure(folder)
        return folder / "model"

    return finished(work, job, Cell(row.label, concept, job.seed, folder))


def finished(work: Callable[[], Path], job: Job, cell: Cell) -> Cell:
    """The cell after `work`, which returns the model's folder, or with the failure in one line: a plug-in may raise anything."""
    try:
        model = work()
    except Exception as error:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return replace(cell, failure=one_line(error))
    source = locate(str(job.model), job.parts or job.tokenizer, job.prediction_type)
    return replace(cell, changed_bytes=changed_bytes(source, model))


def one_line(error: BaseException) -> str:
    """The failure in one line of at most LONGEST characters, with the type of the error unless it is an InputError."""
    message = " ".join(str(error).split()) or "no message"
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return f"{kind}{message}"[:LONGEST]


def unfinished(folder: Path) -> str | None:
    """The first stage that is not complete in a run folder, None where all are."""
    run = Run.read(folder)
    return next((stage for stage in STAGES if not run.done(stage)), None)
