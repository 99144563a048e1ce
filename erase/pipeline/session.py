"""A job in progress: the resolved job, its open run folder and its model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import latent_factor
from erase.checkpoints.from_single_file import restore
from erase.concepts import Concept
from erase.diffusion import DTYPES, StableDiffusion, open_model
from erase.diffusion.memory import Need, Question, free_bytes, plan
from erase.diffusion.text_memory import text_plan
from erase.errors import EmptyScope
from erase.files.disk import disk_errors
from erase.methods import DiffusionMethod, Requirements
from erase.options import differences
from erase.pipeline.job import PREVIEWED, STAGES, TEXT, Event, Job, Show
from erase.pipeline.plan import write_plan
from erase.pipeline.resolve import ResolvedJob
from erase.processes import agree, join, processes, sharding, wait
from erase.run import RUNS, Run, list_runs, next_run_folder, recorded_options
from erase.training.meters import Memory, peak_bytes


class Session:
    """What the stages of a job work with. A context manager that locks the run folder until its end.

    `concepts` are those of the resolved job; a concept without an anchor gets one in the first stage. With a `pool`, a folder, the
    image sets of the original model are generated there and linked from the run, so that other runs with this pool share them.
    """

    def __init__(self, resolved: ResolvedJob, run: Run, model: StableDiffusion, show: Show | None = None, pool: Path | None = None) -> None:
        self.resolved, self.run, self.model, self.pool = resolved, run, model, pool
        self._show = show
        self.concepts = resolved.concepts
        self.rank, self.world = processes()

    @classmethod
    def open(cls, resolved: ResolvedJob, show: Show | None = None, pool: Path | None = None) -> Session:
        """Create or resume the run folder of a job. The first process chooses and locks it, the others read it."""
        job = resolved.job
        join(job.device)
        model = open_model(resolved.folder, job.device, job.dtype, job.size)
        model.guidance = float(job.guidance or model.guidance)
        if processes()[0] > 0:
            run = Run.read(agree(Path()))
            return cls(resolved.begun(run.options), run, model, show, pool)
        added = resolved.added()
        folder = Path(job.output) if job.output else _unfinished(RUNS, resolved, added)
        if folder is not None and not job.overwrite:
            resolved = resolved.begun(recorded_options(folder))
        folder = folder or next_run_folder(RUNS, resolved.name, str(job.model), job.method)
        run = Run.open(folder, resolved.record(), job.overwrite, added)
        agree(run.folder)
        with disk_errors(run.folder):
            write_plan(run.folder, resolved.plan())
        return cls(resolved, run, model, show, pool)

    @property
    def job(self) -> Job:
        return self.resolved.job

    @property
    def method(self) -> DiffusionMethod:
        return self.resolved.method

    @property
    def requirements(self) -> Requirements:
        return self.resolved.requirements

    @property
    def folder(self) -> Path:
        """The original model's."""
        return self.resolved.folder

    @property
    def concept(self) -> Concept:
        """The concept, or the first of several."""
        return self.concepts[0]

    def close(self) -> None:
        self.run.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Show an event of this run."""
        if self._show is not None:
            self._show(replace(event, folder=self.run.folder))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, record it as complete when all processes have finished it, and show it."""
        start = time.perf_counter()
        self.show(Event(name, 0, 0))
        if self.rank == 0:
            restore(self.folder)
        wait()
        with disk_errors(self.run.folder), Memory(self.job.device) as memory:
            yield
        wait()
        seconds = round(time.perf_counter() - start, 3)
        if self.rank == 0:
            self.run.complete(name, seconds=seconds, peak_bytes=memory.peak or peak_bytes(self.job.device))
        self.show(Event(name, 1, 1, note=f"{seconds:.1f} s"))
        wait()

    def progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.show(Event(name, done, total))


def memory_need(resolved: ResolvedJob, free: int | None = None) -> tuple[Need, str]:
    """How repair fits the device, or `free` bytes, and a sentence about it; InputError where it does not."""
    job, required, folder = resolved.job, resolved.requirements, resolved.folder
    factor = latent_factor(folder)
    question = Question(
        folder=folder,
        scope=required.scope,
        optimizer=required.optimizer,
        batch=max(required.batch // processes()[1], 1),
        dtype=DTYPES[job.dtype],
        device=job.device,
        sampling_batch=int(job.sampling_batch or 1),
        side=resolved.size // factor,
        micro_batch=job.micro_batch,
        checkpointing=job.checkpointing,
        copies=required.copies,
        preview=len(PREVIEWED) if job.preview_every else 0,
        rank=job.lora_rank,
        frozen=DTYPES[resolved.frozen_dtype],
        scored=required.scored,
        scores=required.scores,
        relearns=required.relearns,
        processes=processes()[1] if sharding() else 1,
    )
    with scope_not_empty(job.method, required):
        return (text_plan if job.part == TEXT else plan)(question, free_bytes(job.device) if free is None else free)


@contextmanager
def scope_not_empty(name: str, required: Requirements) -> Iterator[None]:
    """Within, an EmptyScope of a method whose scope has a name in words says that the network has no such weights."""
    try:
        yield
    except EmptyScope as error:
        if not required.edits:
            raise
        message = f"--method {name} edits {required.edits}, and the network of this model has none; choose another method"
        raise EmptyScope(message, option="method") from error


def _unfinished(root: Path, resolved: ResolvedJob, added: Mapping[str, Any]) -> Path | None:
    """The last run of exactly these options that was stopped before its end: without --output it is resumed."""
    record = resolved.record()
    for run in map(Run.read, reversed(list_runs(root))):
        if not all(map(run.done, STAGES)):
            begun = resolved.begun(run.options)
            requested = json.loads(json.dumps(record if begun is resolved else begun.record()))
            if not differences(run.options, requested, added):
                return run.folder
    return None
