"""The gold standard of a bench: images of a model trained without the concept, for the same prompts and seeds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import scheduler_of, size_of, weight_hashes
from erase.concepts import Concept
from erase.diffusion import open_model
from erase.methods.spec import RETRAIN
from erase.pipeline.drawing import before, draw
from erase.pipeline.job import Event, Job, Show
from erase.pipeline.resolve import ResolvedJob, resolve_job
from erase.run import Run
from eval.bench.cells import Cell, Measure, finished
from eval.bench.plan import Bench, slug
from eval.bench.relearning import relearn_cell, session_in


def gold_cell(plan: Bench, gold: Path, job: Job, concept: Concept, home: Path, measure: Measure, show: Show) -> Cell:
    """The cell of the gold model in `gold`."""
    folder = home / "runs" / slug(concept.name, job.seed, RETRAIN)
    show(Event(f"{concept.title}, seed {job.seed}", 0, 0, note=RETRAIN))

    def work() -> Path:
        _draw(gold, job, folder, home, show)
        relearn_cell(plan, job, folder, gold, home, show)
        measure(folder)
        return gold

    return finished(work, job, Cell(RETRAIN, concept.name, job.seed, folder))


def _draw(gold: Path, job: Job, folder: Path, home: Path, show: Show) -> None:
    resolved = resolve_job(job)
    with session_in(resolved, Run.open(folder, _options(resolved, gold)), home, show) as work:
        if not work.run.done("before"):
            with work.stage("before"):
                before(work)
        work.model.free()
        if not work.run.done("after"):
            with work.stage("after"):
                draw(work, open_model(gold, work.job.device, work.job.dtype, work.job.size), "after")


def _options(work: ResolvedJob, gold: Path) -> dict[str, Any]:
    """The options of an evaluation: the folder reads like a run, but nothing was erased in it."""
    job = work.job
    named = {"kind": "evaluation", "concept": work.concept.name, "model": job.model, "method": RETRAIN, "preset": None, "seed": job.seed}
    sampling = {"scheduler": scheduler_of(work.folder), "steps": job.sampling_steps, "guidance": job.guidance}
    sampling |= {"size": job.size or size_of(work.folder), "batch": job.sampling_batch}
    more = {"device": job.device, "dtype": job.dtype, "weights": weight_hashes(work.folder), "gold_weights": weight_hashes(gold)}
    return {**named, "concept_file": asdict(work.concept), "prompts": {"from": "concept"}, "sampling": sampling, **more}
