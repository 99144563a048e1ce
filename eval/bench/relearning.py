"""Relearning in a bench: erased models fine-tuned on forget images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from erase.checkpoints.folder import is_small
from erase.diffusion import open_model
from erase.errors import InputError
from erase.pipeline.image_sets import make, prompts_of
from erase.pipeline.job import Event, Job, Show
from erase.pipeline.resolve import ResolvedJob, resolve_job
from erase.pipeline.session import Session
from erase.run import Run
from eval.bench.plan import Bench
from eval.options import RATES, Relearning
from eval.relearning import has_relearned, relearn


def relearn_cell(plan: Bench, job: Job, folder: Path, model: Path, home: Path, show: Show) -> None:
    """Relearning of one run in `folder`, where the bench asks for it and it is not done yet."""
    if not plan.relearning.relearn or has_relearned(folder, plan.relearning):
        return
    run = Run.read(folder)
    if not run.forget_images.is_dir():  # the gold model's folder, or that of a method that needs no images
        with session_in(resolve_job(job), run, home, show) as work:
            texts = [p.text for p in prompts_of(work, "forget", int(work.job.forget_count or 0))]
            make(work, run.forget_images, texts, job.seed, work.model, "images: forget")
    relearned(run, model, plan.relearning, show)


def relearned(run: Run, model: Path, settings: Relearning, show: Show) -> None:
    """Relearning from the forget images of the run itself; InputError where it has none."""
    if not run.forget_images.is_dir():
        raise InputError(f"{run.folder} has no forget images of its own to relearn from; leave --relearn out for this run")
    settings = replace(settings, relearn_rate=settings.relearn_rate or RATES[is_small(model)])
    relearn(run, model, run.forget_images, settings, lambda done, total: show(Event("relearn", done, total)))


def session_in(resolved: ResolvedJob, run: Run, home: Path, show: Show) -> Session:
    """The model and prompts of the job, with another run folder than its own; `home` is the folder of the bench."""
    job = resolved.job
    return Session(resolved, run, open_model(resolved.folder, job.device, job.dtype, job.size), show, home / "pictures")
