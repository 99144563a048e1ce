"""A run in progress: the open run folder, the concept, the method and the model, settled before the first stage."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import config_of, is_small, scheduler_of, size_of, weight_hashes
from erase.concepts import Concept, with_anchors
from erase.concepts.several import all_apart, also_earlier, load_concepts, settings_of, together
from erase.diffusion import DTYPES, locate, open_model, pick_device
from erase.diffusion.memory import Need, Question, free_bytes, plan
from erase.errors import EmptyScope, InputError
from erase.methods import METHODS, DiffusionMethod, Requirements, make_method, method_class
from erase.methods.requirements import IMAGE_SETS
from erase.options import added_options, differences
from erase.pipeline.earlier_run import model_of
from erase.pipeline.job import DEFAULTS, STAGES, Event, Job, Show
from erase.processes import agree, join, processes, wait
from erase.run import RUNS, Run, disk_errors, list_runs, next_run_folder
from erase.training.meters import Memory, peak_bytes


class Work:
    """A run in progress: the open run folder, the concept, the method and the model. Close it (it is a context manager).

    With `look` it has no folder: nothing is to be made, only to be known. With a `pool`, a folder, what the original draws is
    drawn there, and linked from the run's: other runs with this pool need not draw it again.
    """

    run: Run

    def __init__(
        self, job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None, look: bool = False, pool: Path | None = None
    ) -> None:
        self.show: Show = show or (lambda event: None)
        self.pool = pool
        given, earlier = model_of(job.model)
        now = load_concepts(job.concept, given)
        if job.anchor is not None and len(now) > 1:
            raise InputError(f"--anchor {job.anchor!r} takes one concept's place, and there are {len(now)}; write it into a concept file")
        if job.anchor is not None:
            now = (with_anchors(now[0], job.anchor.split(",")),)
        earlier = also_earlier(now, earlier) if job.stay_gone else ()
        self.name, self.earlier, self.whole = together(now), [concept.name for concept in earlier], (*now, *earlier)
        self.concepts = all_apart(self.whole)
        job = replace(job, model=given, concept=job.concept if len(now) == 1 else self.name)
        model = job.model or now[0].model
        options = {**_recommended(settings_of(now), job), **_several(job), **(values or {})}
        self.method: DiffusionMethod = make_method(job.method, job.preset, METHODS, **options)
        self.needs = self.method.requirements
        _refuse_idle(job, self.method)
        self.concepts = tuple(with_as_many_anchors(concept, self.needs) for concept in self.concepts)
        self.folder = locate(model, job.tokenizer, job.prediction_type)
        self.finished = self.method.finished(self.name, self.folder)
        defaults = DEFAULTS[is_small(self.folder)]
        brought = [f"{role}_count" for role in ("forget", "retain") if getattr(job, f"{role}_images")]
        filled: dict[str, Any] = {k: v for k, v in defaults.items() if getattr(job, k) is None and k not in brought}
        self.job = replace(job, model=model, device=pick_device(job.device), **filled)
        self.rank, self.world = processes()
        join(self.job.device)
        self.model = open_model(self.folder, self.job.device, self.job.dtype, self.job.size)
        if not look:
            self.run = self._open()

    def _open(self) -> Run:
        """The run folder: the first process chooses and locks it, the others look at it."""
        options, run = self._options(), None
        if self.rank == 0:
            model, job = str(self.job.model), self.job
            output = Path(job.output) if job.output else _unfinished(RUNS, options, self._added())
            run = Run.open(output or next_run_folder(RUNS, self.name, model, job.method), options, job.overwrite, self._added())
        folder = agree(run.folder if run else Path())
        return run or Run.read(folder)

    def _options(self) -> dict[str, Any]:
        aside = ["output", "overwrite", "tokenizer", "micro_batch", "checkpointing", "preview_every"]  # the result is the same
        aside += [name for name in ("prediction_type", "size") if getattr(self.job, name) is None]
        aside += ["stay_gone"] * (not self.earlier)
        given = {k: v for k, v in asdict(self.job).items() if k not in aside}
        chosen: dict[str, Any] = {"concept_file": asdict(self.concept)}
        if len(self.whole) > 1:
            chosen |= {"concepts": [asdict(concept) for concept in self.whole], "earlier": self.earlier}
        chosen |= {"method_options": asdict(self.method), "weights": weight_hashes(self.folder)}
        sampling = {"scheduler": scheduler_of(self.folder), "steps": self.job.sampling_steps, "guidance": self.job.guidance}
        sampling |= {"size": self.job.size or size_of(self.folder), "batch": self.job.sampling_batch}
        return {**given, **chosen, "sampling": sampling}

    def _added(self) -> dict[str, Any]:
        """What the record of a run of an earlier version lacks."""
        return {f"method_options.{name}": value for name, value in added_options(type(self.method)).items()}

    @property
    def concept(self) -> Concept:
        """The concept, or the first of several."""
        return self.concepts[0]

    @property
    def counted(self) -> Job:
        """The job with the counts of all its concepts together, for estimates."""
        counts = {f"{name}_count": getattr(self.job, f"{name}_count") for name in ("forget", "evaluate")}
        return replace(self.job, **{name: len(self.concepts) * count for name, count in counts.items() if count is not None})

    def plan(self) -> tuple[Need, str]:
        """How repair fits the device, and the sentence that says so; InputError where it does not."""
        job, wants = self.job, self.needs
        factor = size_of(self.folder) // int(config_of(self.folder, "unet", "config.json")["sample_size"])
        question = Question(
            self.folder, wants.scope, wants.optimizer, max(wants.batch // self.world, 1), DTYPES[job.dtype], job.device,
            int(job.sampling_batch or 1), (job.size or size_of(self.folder)) // factor, job.micro_batch, job.checkpointing, wants.copies,
        )  # fmt: skip
        with scope_not_empty(job.method, wants):
            return plan(question, free_bytes(job.device))

    def close(self) -> None:
        """Let others work on the run folder."""
        if hasattr(self, "run"):
            self.run.close()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, note it as complete when all processes are through, and say so."""
        start = time.perf_counter()
        self.show(Event(name, 0, 0))
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


def with_as_many_anchors(concept: Concept, wants: Requirements) -> Concept:
    words = concept.anchors or concept.anchor_prompts
    return with_anchors(concept, words[:1]) if wants.one_anchor and len(words) > 1 else concept


def _recommended(settings: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """What the concept file recommends for `balanced`, as far as the method has such options; what none of ours has is a mistake."""
    if job.preset != "balanced":
        return {}
    known = {item.name for item in fields(method_class(job.method))}
    ours = {item.name for method in METHODS.own.values() for item in fields(method)}
    return {name: value for name, value in settings.items() if name in known or name not in ours}


def _several(job: Job) -> dict[str, Any]:
    """Whoever names several anchors means them all."""
    has = "one_anchor" in [item.name for item in fields(method_class(job.method))]
    return {"one_anchor": False} if has and "," in (job.anchor or "") else {}


def _refuse_idle(job: Job, method: DiffusionMethod) -> None:
    """InputError for an option of the job that would do nothing with this method."""
    required = method.requirements
    if job.anchor is not None and not required.anchor:
        choice = asdict(method).get("unlearn")
        reason = f"--unlearn {choice}; leave it out or give --unlearn anchor" if choice else f"--method {job.method}; leave it out"
        raise InputError(f"--anchor {job.anchor!r} has no effect with {reason}", option="anchor")
    for role in IMAGE_SETS:
        if getattr(job, f"{role}_images") is not None and role not in required.images:
            raise InputError(
                f"--{role}-images has no effect with --method {job.method}, which uses no {role} images; leave it out",
                option=f"{role}_images",
            )


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


def _unfinished(root: Path, options: Mapping[str, Any], added: Mapping[str, Any]) -> Path | None:
    """The last run of exactly these options that was stopped before its end: without --output it is gone on with."""
    wanted = json.loads(json.dumps(options))
    runs = [Run.read(folder) for folder in list_runs(root)]
    return next((r.folder for r in reversed(runs) if not all(map(r.done, STAGES)) and not differences(r.options, wanted, added)), None)
