"""Every method on every concept and seed of one model: an ordinary run folder each, pictures drawn once, and the gold standard.

What has been done is not done again. A method that raises leaves a line that says so, and the others go on. Knows no metric:
`measure` is given.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from erase.checkpoints.diff import changed_bytes
from erase.checkpoints.folder import check_model_folder, is_small, scheduler_of, size_of, weight_hashes
from erase.concepts import Concept, load_concept
from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import locate, open_model, pick_device
from erase.errors import InputError
from erase.methods.spec import RETRAIN, Entry
from erase.pipeline import erase_concept
from erase.pipeline.drawing import before, draw
from erase.pipeline.image_sets import make, prompts_of
from erase.pipeline.job import DEFAULTS, STAGES, Event, Job, Show
from erase.pipeline.resolve import ResolvedJob, resolve_job
from erase.pipeline.session import Session
from erase.processes import processes
from erase.run import Run
from eval.relearning import RATES, Relearning, has_relearned, relearn

ASIDE = ("concepts", "method", "preset", "anchor", "output", "seed", "overwrite", "micro_batch", "checkpointing", "preview_every")
# Fields of Job that a bench has no use for: it names these itself, or they are of one concept.
OWN = (*ASIDE[:7], "preview_every", "forget_images", "forget_image_captions", "retain_images", "retain_image_captions")

Measure = Callable[[Path], None]


@dataclass(frozen=True)
class Bench:
    """What is put side by side: rows by concepts by seeds, with what all runs share in `job`."""

    job: Job
    concepts: tuple[str, ...]
    rows: tuple[Entry, ...]
    seeds: tuple[int, ...]
    gold: Mapping[str, Path] = field(default_factory=dict)
    relearning: Relearning = field(default_factory=Relearning)

    def __post_init__(self) -> None:
        _once("rows", [row.label for row in self.rows] + [RETRAIN] * bool(self.gold), "give each row once, or other options to one")
        made = [(row.method, repr(row.make())) for row in self.rows]
        for i, row in enumerate(self.rows):
            if made[i] in made[:i]:
                raise InputError(
                    f"the rows {self.rows[made.index(made[i])].label} and {row.label} are the same method and options; give one"
                )
        for name, folder in self.gold.items():
            if name not in self.concepts:
                raise InputError(f"--gold {name}={folder} is of none of the concepts; expected one of {', '.join(self.concepts)}")


@dataclass(frozen=True)
class Cell:
    """One run: a row of the table on one concept and seed. `failure` says in a line why there is no result."""

    label: str
    concept: str
    seed: int
    folder: Path
    failure: str | None = None
    changed_bytes: int | None = None


def bench(plan: Bench, folder: Path, measure: Measure, show: Show | None = None, overwrite: bool = False) -> list[Cell]:
    """Do what is missing and return every cell. `measure` is called with each finished run folder.

    InputError: unknown names, and a folder with a bench of other options.
    """
    shown: Show = show or (lambda event: None)
    if processes()[1] > 1:
        raise InputError("a bench is one process, and several were started together; give the command without `accelerate launch`")
    plan = filled(plan)
    concepts = [load_concept(name, plan.job.model) for name in plan.concepts]
    golds = {name: gold_folder(path) for name, path in plan.gold.items()}
    cells: list[Cell] = []
    with Run.open(folder, _options(plan), overwrite):
        total = len(concepts) * len(plan.seeds) * len(plan.rows)
        for given, concept in zip(plan.concepts, concepts, strict=True):
            for seed in plan.seeds:
                job = replace(plan.job, concepts=(given,), seed=seed)
                for row in plan.rows:
                    place = folder / "runs" / slug(concept.name, seed, row.label)
                    shown(Event(f"{concept.name}, seed {seed}", 0, 0, note=f"{row.label} ({len(cells) + 1} of {total})"))
                    cells.append(_cell(plan, row, replace(job, output=str(place)), concept.name, folder, measure, shown))
                if given in golds:
                    cells.append(gold_cell(plan, golds[given], job, concept, folder, measure, shown))
    return cells


def gold_folder(path: Path) -> Path:
    """A pipeline folder, or what `erase.demo.shapes.train` leaves around one; checked."""
    if not path.is_dir():
        raise InputError(
            f"--gold {path} is not there; expected a pipeline folder, or one that `python -m erase.demo.shapes.train --without` made"
        )
    folder = path / "pipeline" if (path / "pipeline").is_dir() else path
    check_model_folder(folder)
    return folder


def slug(*parts: object) -> str:
    """A name for a folder."""
    return "-".join(re.sub(r"[^\w.=,+-]+", "-", str(part)).strip("-.") or "x" for part in parts)


def unfinished(folder: Path) -> str | None:
    """The first stage that a run folder lacks."""
    run = Run.read(folder)
    return next((stage for stage in STAGES if not run.done(stage)), None)


# --- what is to be done ---------------------------------------------------------------------------------------------


def filled(plan: Bench) -> Bench:
    """With every default that depends on the model; InputError for unknown concepts, or concepts of several models."""
    concepts = [load_concept(name, plan.job.model) for name in plan.concepts]
    _once("concepts", [concept.name for concept in concepts], "give each once")
    model = plan.job.model or concepts[0].model
    if other := next((concept for concept in concepts if plan.job.model is None and concept.model != model), None):
        raise InputError(f"{concepts[0].name} is of the model {model} and {other.name} of {other.model}; name one model with --model")
    folder = locate(model, plan.job.tokenizer, plan.job.prediction_type)
    small = is_small(folder)
    usual: dict[str, Any] = {name: value for name, value in DEFAULTS[small].items() if getattr(plan.job, name) is None}
    job = replace(plan.job, model=model, device=pick_device(plan.job.device), **usual)
    rate = plan.relearning.relearn_rate or RATES[small]
    return replace(
        plan, job=job, gold={**_shipped(plan, concepts, model), **plan.gold}, relearning=replace(plan.relearning, relearn_rate=rate)
    )


def _shipped(plan: Bench, concepts: Sequence[Concept], model: str) -> dict[str, Path]:
    """Retrained models that come with the embedded ones, unless a row brings its own."""
    if model not in KNOWN_MODELS or any(row.method == RETRAIN for row in plan.rows):
        return {}
    found = {given: KNOWN_MODELS[model].gold(slug(concept.name)) for given, concept in zip(plan.concepts, concepts, strict=True)}
    return {given: folder for given, folder in found.items() if folder.is_dir()}


def _options(plan: Bench) -> dict[str, Any]:
    """What must stay the same in a bench's folder; rows, concepts and seeds may be added."""
    folder = locate(str(plan.job.model), plan.job.tokenizer, plan.job.prediction_type)
    shared = {name: value for name, value in asdict(plan.job).items() if name not in ASIDE}
    return {"kind": "bench", **shared, "weights": weight_hashes(folder)}


def _once(what: str, names: Sequence[str], remedy: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (key := slug(name).lower()) in seen:
            both = f"named {name}" if name == seen[key] else f"named {seen[key]} and {name}, which is one name for a folder"
            raise InputError(f"two {what} are {both}; {remedy}")
        seen[key] = name


# --- doing it -------------------------------------------------------------------------------------------------------


def _cell(plan: Bench, row: Entry, job: Job, concept: str, home: Path, measure: Measure, show: Show) -> Cell:
    """One run from wherever it stands to its numbers."""
    place = Path(str(job.output))

    def work() -> Path:
        erase_concept(replace(job, method=row.method, preset=row.preset), row.values, show, home / "pictures")
        _relearn(plan, job, place, place / "model", home, show)
        measure(place)
        return place / "model"

    return _tried(work, job, Cell(row.label, concept, job.seed, place))


def gold_cell(plan: Bench, gold: Path, job: Job, concept: Concept, home: Path, measure: Measure, show: Show) -> Cell:
    """The same prompts and seeds drawn by the model that was trained without the concept."""
    place = home / "runs" / slug(concept.name, job.seed, RETRAIN)
    show(Event(f"{concept.name}, seed {job.seed}", 0, 0, note=RETRAIN))

    def work() -> Path:
        _draw_gold(plan, gold, job, place, home, show)
        _relearn(plan, job, place, gold, home, show)
        measure(place)
        return gold

    return _tried(work, job, Cell(RETRAIN, concept.name, job.seed, place))


def _tried(work: Callable[[], Path], job: Job, cell: Cell) -> Cell:
    """The cell with its result, or with the line that says what went wrong: a stranger's method may raise anything."""
    try:
        model = work()
    except Exception as error:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return replace(cell, failure=one_line(error))
    return replace(cell, changed_bytes=changed_bytes(_source(job), model))


def _draw_gold(plan: Bench, gold: Path, job: Job, place: Path, home: Path, show: Show) -> None:
    resolved = resolve_job(job)
    with _session(resolved, Run.open(place, _gold_options(resolved, gold)), home, show) as work:
        if not work.run.done("before"):
            with work.stage("before"):
                before(work)
        work.model.free()
        if not work.run.done("after"):
            with work.stage("after"):
                draw(work, open_model(gold, work.job.device, work.job.dtype, work.job.size), "after")


def _session(resolved: ResolvedJob, run: Run, home: Path, show: Show) -> Session:
    """The job's model and prompts, with another run folder than its own."""
    job = resolved.job
    return Session(resolved, run, open_model(resolved.folder, job.device, job.dtype, job.size), show, home / "pictures")


def _gold_options(work: ResolvedJob, gold: Path) -> dict[str, Any]:
    """As an evaluation's: it reads like a run, but nothing was erased here."""
    job = work.job
    named = {"kind": "evaluation", "concept": work.concept.name, "model": job.model, "method": RETRAIN, "preset": None, "seed": job.seed}
    sampling = {"scheduler": scheduler_of(work.folder), "steps": job.sampling_steps, "guidance": job.guidance}
    sampling |= {"size": job.size or size_of(work.folder), "batch": job.sampling_batch}
    more = {"device": job.device, "dtype": job.dtype, "weights": weight_hashes(work.folder), "gold_weights": weight_hashes(gold)}
    return {**named, "concept_file": asdict(work.concept), "prompts": {"from": "concept"}, "sampling": sampling, **more}


def _relearn(plan: Bench, job: Job, place: Path, model: Path, home: Path, show: Show) -> None:
    """The pictures of relearning of a run, where they are asked for and not there yet."""
    if not plan.relearning.relearn or has_relearned(place, plan.relearning):
        return
    run = Run.read(place)
    if not run.forget_images.is_dir():  # the retrained model's, or of a method that needs no pictures
        with _session(resolve_job(job), run, home, show) as work:
            texts = [p.text for p in prompts_of(work, "forget", int(work.job.forget_count or 0))]
            make(work, run.forget_images, texts, job.seed, work.model, "images: forget")
    relearned(run, model, plan.relearning, show)


def relearned(run: Run, model: Path, settings: Relearning, show: Show) -> None:
    """Relearning from the run's own forget pictures; InputError where it has none."""
    if not run.forget_images.is_dir():
        raise InputError(f"{run.folder} has no forget pictures of its own to relearn from; leave --relearn out for this run")
    settings = replace(settings, relearn_rate=settings.relearn_rate or RATES[is_small(model)])
    relearn(run, model, run.forget_images, settings, lambda done, total: show(Event("relearn", done, total)))


def _source(job: Job) -> Path:
    return locate(str(job.model), job.tokenizer, job.prediction_type)


def one_line(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters, with the kind of error where it is not the user's."""
    said = " ".join(str(error).split()) or "no message"
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return f"{kind}{said}"[:300]


def facts(plan: Bench) -> dict[str, Any]:
    """What the protocol says of the rows: method, preset and every option."""
    rows = {
        row.label: {"method": row.method, "preset": row.preset, "options": json.loads(json.dumps(asdict(row.make())))} for row in plan.rows
    }
    gold = {name: weight_hashes(gold_folder(path)) for name, path in plan.gold.items()}
    return {"rows": rows, "gold": gold}
