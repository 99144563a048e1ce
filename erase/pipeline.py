"""The main job, stage by stage: pictures, latents, erasing, export, samples. Each stage reads and writes the run folder.

A stage whose output is complete is skipped, so the same command on the same folder goes on where it stopped, and the
result is the same to the bit: whatever is random depends on the seed and a number, never on what ran before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from erase.anchors import choose_anchors
from erase.concepts import Concept, Prompt, prompts, with_anchors
from erase.diffusion import DTYPES, StableDiffusion, diffusion_task, locate, open_model, pick_device
from erase.diffusion.memory import Need, Question, free_bytes, plan
from erase.disk import enough_disk
from erase.export import export, weight_files, weight_hashes
from erase.files import write_json, write_tensors, written
from erase.guard import BATCHES
from erase.images import Picture, make_images, read_images
from erase.job import DEFAULTS, Event, Job, Show, config_of, is_small, peak_bytes, scheduler_of, size_of
from erase.latents import cache_latents, hold_out, read_latents
from erase.methods import METHODS, make_method, method_class
from erase.pool import link_images, set_name
from erase.preparation import PICTURES, Preparation, needs
from erase.processes import agree, join, processes, wait
from erase.run import Run, differences, disk_errors, lines_of, list_runs, next_run_folder, read_lines
from erase.scope import open_scope
from erase.selection import shares
from erase.several import (
    all_apart,
    also_earlier,
    evaluation_rows,
    forget_prompts,
    load_concepts,
    model_of,
    own_anchors,
    retain_prompts,
    settings_of,
    together,
)  # fmt: skip
from erase.task import InputError, Task, generator
from erase.trained import Memory

__all__ = ["DEFAULTS", "STAGES", "Event", "Job", "Work", "erase_concept"]

STAGES = ("images", "before", "latents", "erase", "export", "after")
CHECKPOINT_EVERY = 20
ROUNDS = 128  # batches whose predictions by the original are kept; a longer repair sees them again
RUNS = Path("runs")


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
        self.method = make_method(job.method, job.preset, **{**_recommended(settings_of(now), job), **(values or {})})
        self.needs = needs(self.method)
        _refuse_idle(job, self.method, self.needs)
        self.concepts = tuple(_with_as_many_anchors(concept, self.needs) for concept in self.concepts)
        self.folder = locate(model, job.tokenizer, job.prediction_type)
        self.finished: Path | None = self.method.finished(self.name, self.folder) if hasattr(self.method, "finished") else None
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
            output = Path(job.output) if job.output else _unfinished(RUNS, options)
            run = Run.open(output or next_run_folder(RUNS, self.name, model, job.method), options, job.overwrite)
        folder = agree(run.folder if run else None)
        return run or Run.read(folder)

    def _options(self) -> dict[str, Any]:
        aside = ["output", "overwrite", "tokenizer", "micro_batch", "checkpointing", "preview_every"]  # the result is the same
        aside += [name for name in ("prediction_type", "size") if getattr(self.job, name) is None]
        aside += ["stay_gone"] * (not self.earlier)
        given = {k: v for k, v in asdict(self.job).items() if k not in aside}
        settings = asdict(self.method)
        chosen: dict[str, Any] = {"concept_file": asdict(self.concept)}
        if len(self.whole) > 1:
            chosen |= {"concepts": [asdict(concept) for concept in self.whole], "earlier": self.earlier}
        chosen |= {"method_options": settings, "weights": weight_hashes(self.folder)}
        sampling = {"scheduler": scheduler_of(self.folder), "steps": self.job.sampling_steps, "guidance": self.job.guidance}
        sampling |= {"size": self.job.size or size_of(self.folder), "batch": self.job.sampling_batch}
        return {**given, **chosen, "sampling": sampling}

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
        with _edits(job.method, wants):
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


def _with_as_many_anchors(concept: Concept, wants: Preparation) -> Concept:
    words = concept.anchors or concept.anchor_prompts
    return with_anchors(concept, words[:1]) if wants.one_anchor and len(words) > 1 else concept


def _recommended(settings: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """What the concept file recommends for `balanced`, as far as the method has such options; what none of ours has is a mistake."""
    if job.preset != "balanced":
        return {}
    known = {item.name for item in fields(method_class(job.method))}
    ours = {item.name for method in METHODS.own.values() for item in fields(method)}
    return {name: value for name, value in settings.items() if name in known or name not in ours}


def _refuse_idle(job: Job, method: Any, wants: Preparation) -> None:
    """InputError for an option of the job that would do nothing with this method."""
    if job.anchor is not None and not wants.anchor:
        choice = f"forgetting by {wants.unlearn}; leave it out or give --unlearn anchor" if hasattr(method, "unlearn") else f"{job.method}"
        raise InputError(f"--anchor {job.anchor!r} has no part in {choice}")
    for role in PICTURES:
        if getattr(job, f"{role}_images") is not None and role not in wants.pictures:
            raise InputError(f"--{role}-images has no part in {job.method}, which looks at no pictures to {role}; leave it out")


@contextmanager
def _edits(name: str, wants: Preparation) -> Iterator[None]:
    """What a method edits, where a network has none of it."""
    try:
        yield
    except InputError as error:
        if not wants.edits or "matches no weight" not in str(error):
            raise
        raise InputError(f"--method {name} edits {wants.edits}, and the network of this model has none; choose another method") from None


def _unfinished(root: Path, options: Mapping[str, Any]) -> Path | None:
    """The last run of exactly these options that was stopped before its end: without --output it is gone on with."""
    wanted = json.loads(json.dumps(options))
    runs = [Run.read(folder) for folder in list_runs(root)]
    return next((r.folder for r in reversed(runs) if not all(map(r.done, STAGES)) and not differences(r.options, wanted)), None)


def erase_concept(job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None, pool: Path | None = None) -> Path:
    """Do the whole job, or what is left of it; returns the run folder. `values` are options of the method, `pool` is Work's.

    Processes started together by `accelerate launch` share the drawing and every batch of repair.

    InputError for the user's mistakes, Diverged if a loss stops being finite; either leaves a run that can go on.
    """
    with Work(job, values, show, pool=pool) as work:
        need = _settled(work)
        for name in STAGES:
            if agree(_complete(work, name)):
                work.show(Event(name, 1, 1, note="done before"))
            else:
                with work.stage(name):
                    _erase(work, need) if name == "erase" else globals()[f"_{name}"](work)
        return work.run.folder


def _complete(work: Work, stage: str) -> bool:
    return work.run.done(stage) and all(path.exists() for path in _outputs(work, stage))


def _settled(work: Work) -> Need | None:
    """What is known before anything is made: whether memory and disk are enough. None where repair is done already."""
    if agree(_complete(work, "erase")):
        return None
    need, sentence = work.plan()
    work.show(Event("memory", 0, 0, note=sentence))
    if work.rank == 0:
        work.show(Event("disk", 0, 0, note=enough_disk(work.run.folder, work.folder, work.counted, work.needs)))
    return agree(need)  # type: ignore[no-any-return]


def _outputs(work: Work, stage: str) -> list[Path]:
    """What a stage leaves in the run folder: a stage is only skipped where it is still there."""
    run = work.run
    folders = {"forget": run.forget_images, "retain": run.retain_images}
    return {
        "images": [folder for role, folder in folders.items() if _drawn(work, role)] + [run.anchor_images] * _draws_anchors(work),
        "before": [run.samples("before"), run.folder / "samples" / "prompts.jsonl"],
        "latents": [run.latents],
        "erase": [run.folder / "weights.safetensors"],
        "export": [run.model],
        "after": [run.samples("after")],
    }[stage]


# --- stages ---------------------------------------------------------------------------------------------------------


def _images(work: Work) -> None:
    """Forget and retain sets: drawn by the original model, or the user's own folders, which are only checked here."""
    job = work.job
    for role in ("forget", "retain"):
        if getattr(job, f"{role}_images"):
            _user_images(work, role)
    _settle_anchor(work)
    for role, count, folder in (("forget", job.forget_count, work.run.forget_images), ("retain", job.retain_count, work.run.retain_images)):
        if _drawn(work, role):
            texts = [p.text for p in _prompts(work, role, int(count or 0))]
            _make(work, folder, texts, job.seed, work.model, f"images: {role}")
    if _draws_anchors(work):
        texts = [a[0] for a in _anchors(work, _set(work, "forget"))]
        _make(work, work.run.anchor_images, texts, job.seed, work.model, "images: anchor")


def _make(work: Work, folder: Path, texts: list[str], seeds: int | Sequence[int], model: StableDiffusion, stage: str) -> None:
    """An image set, every process its part; the first one joins them."""
    job, share = work.job, (work.rank, work.world)
    sample = model.sampler(int(job.sampling_steps or 1), float(job.guidance or 0.0))
    place = work.pool / set_name(_drawn_with(work), texts, seeds) if work.pool and model is work.model else folder
    make_images(place, texts, seeds, sample, int(job.sampling_batch or 1), work.progress(stage), share=share)
    wait()
    if work.world > 1 and work.rank == 0:
        make_images(place, texts, seeds, sample, int(job.sampling_batch or 1))
    if place != folder and work.rank == 0:
        link_images(place, folder)
    wait()


def _drawn_with(work: Work) -> dict[str, Any]:
    """What decides the original's pictures beside prompts and seeds."""
    chosen = work.run.options
    return {name: chosen[name] for name in ("weights", "sampling", "device", "dtype")}


def _drawn(work: Work, role: str) -> bool:
    """Whether the pictures of a set are made by this job."""
    return role in work.needs.pictures and not getattr(work.job, f"{role}_images")


def _draws_anchors(work: Work) -> bool:
    return work.needs.anchor and work.needs.anchor_pictures


def _set(work: Work, role: str) -> list[Picture]:
    """The forget or the retain set: the user's own pictures, or those of the run; of a set that nobody looks at the prompts alone."""
    if getattr(work.job, f"{role}_images"):
        return _user_images(work, role)
    if not _drawn(work, role):
        count = int((work.job.forget_count if role == "forget" else work.job.retain_count) or 0)
        return [Picture(Path(), p.text, None, "") for p in _prompts(work, role, count)]
    return read_images(work.run.forget_images if role == "forget" else work.run.retain_images)


def _anchors(work: Work, forget: list[Picture]) -> list[list[str]]:
    """The prompt that takes the place of each forget picture's, if there is an anchor at all."""
    if work.job.forget_images:
        return [list(own_anchors(work.concepts, picture.prompt)) for picture in forget]
    return [list(p.anchors) for p in _prompts(work, "forget", int(work.job.forget_count or 0))]


def _settle_anchor(work: Work) -> None:
    """Find an anchor where none is given, once; the choice and its reasons stay in anchor.json."""
    if work.rank == 0:
        _find_anchor(work)
    wait()
    _find_anchor(work)
    wait()


def _find_anchor(work: Work) -> None:
    """For each concept without one; of several concepts the file has a record each, by name."""
    path, several = work.run.folder / "anchor.json", len(work.concepts) > 1
    pooled = work.pool / f"{set_name(_drawn_with(work), [c.name for c in work.concepts], work.job.seed)}.json" if work.pool else path
    if pooled.exists() and not path.exists():
        path.write_bytes(pooled.read_bytes())
    there = json.loads(path.read_text()) if path.exists() else {}
    known = there if several else {work.concepts[0].name: there} if there else {}
    settled = []
    for concept in work.concepts:
        if concept.name in known:
            concept = with_anchors(concept, known[concept.name]["anchors"])
        elif not (concept.anchors or concept.anchor_prompts) and work.needs.anchor:
            concept, record = _found_anchor(work, concept)
            known = {**known, concept.name: record}
            for file in dict.fromkeys((pooled, path)):
                write_json(file, known if several else record)
        settled.append(_with_as_many_anchors(concept, work.needs))
    work.concepts = tuple(settled)


def _found_anchor(work: Work, concept: Concept) -> tuple[Concept, dict[str, Any]]:
    job, unet = work.job, work.model.unet()
    steps, guidance = int(job.sampling_steps or 1), float(job.guidance or 0)
    told = work.progress("choosing an anchor")
    found, tested = choose_anchors(concept, work.model, unet, steps, guidance, job.seed, progress=told)
    words = [*found.anchors, *found.anchor_prompts]
    reason = "never shows the concept in its test pictures, and nearest to it among those that do not"
    work.show(Event("images", 0, 0, note=f"anchor: {', '.join(words)} ({reason})"))
    return found, {"anchors": words, "reason": reason, "candidates": [c.record() for c in tested]}


def _prompts(work: Work, role: str, count: int) -> list[Prompt]:
    """`count` prompts to keep, or to forget of each concept."""
    if role == "forget":
        return forget_prompts(work.concepts, work.whole, count, work.job.seed)
    found = retain_prompts(work.concepts, count, work.job.seed)
    limit = work.needs.retain_captions
    if limit is not None:
        found = [replace(found[i % min(limit, len(found))], index=i) for i in range(count)]
    return found


def _user_images(work: Work, role: str) -> list[Picture]:
    job = work.job
    folder = Path(getattr(job, f"{role}_images"))
    captions = job.forget_image_captions if role == "forget" else job.retain_image_captions
    named = prompts(work.concept, "forget", 1, job.seed)[0].text if role == "forget" else None
    return read_images(folder, Path(captions) if captions else None, named)


def _before(work: Work) -> None:
    """The evaluation prompts, written down, and what the original draws for them."""
    count = int(work.job.evaluate_count or 0)
    rows = evaluation_rows(work.concepts, work.whole, count, work.job.seed)
    seed = work.job.seed + 1_000_003  # not the noise of the training pictures
    records = [{"index": i, **row, "seed": seed} for i, row in enumerate(rows)]
    if work.rank == 0:
        with written(work.run.folder / "samples" / "prompts.jsonl") as part:
            part.write_text(lines_of(records), encoding="utf-8")
    wait()
    _draw(work, work.model, "before")


def _after(work: Work) -> None:
    """The same prompts and noise through the exported model, as a user would load it."""
    work.model.free()
    _draw(work, open_model(work.run.model, work.job.device, work.job.dtype, work.job.size), "after")


def _draw(work: Work, model: StableDiffusion, which: str) -> None:
    records = read_lines(work.run.folder / "samples" / "prompts.jsonl")
    _make(work, work.run.samples(which), [r["text"] for r in records], [r["seed"] for r in records], model, which)


def _latents(work: Work) -> None:
    """Embed and encode everything that repair will see."""
    _settle_anchor(work)
    if work.rank > 0:
        return
    job, run = work.job, work.run
    forget, retain = _set(work, "forget"), _set(work, "retain")
    instead = read_images(run.anchor_images) if _draws_anchors(work) else []
    cache_latents(
        run.latents, forget, _anchors(work, forget), retain, work.model.embed, work.model.encode, work.model.size,
        int(job.sampling_batch or 1), work.progress("latents"), instead, work.model.pool, work.model.time_ids(), work.needs.pictures,
    )  # fmt: skip


def _erase(work: Work, need: Need | None = None) -> None:
    """Score, trim, repair. Checkpointed every few steps; a restart repeats nothing but what came after the last one."""
    run, method, first = work.run, work.method, work.rank == 0
    if work.finished is not None:  # there is nothing to change in this model: it is made already
        write_tensors(run.folder / "weights.safetensors", {}, {"changed": "nothing"})
        return
    work.model.free()
    start = time.perf_counter()
    task = _task(work, need)
    resume = load_file(run.checkpoint) if run.checkpoint.exists() else None
    wait()  # all have read it
    if first:
        run.truncate_steps(int(resume["step"]) if resume else 0)
    prepared = time.perf_counter()
    preview = _preview(work, task)
    preview(0)
    for step in method(task, resume):
        work.show(Event("erase", step.step, work.needs.steps, step))
        if said := step.held_out.get("guard"):
            work.show(Event("erase", step.step, work.needs.steps, note=f"step {step.step}: {said}"))
        if not first:
            continue
        if step.step == 1:
            run.complete("score", seconds=round(time.perf_counter() - prepared - step.seconds, 3))
            _write_layers(work, task)
        run.append_step(step.record())
        if step.step % CHECKPOINT_EVERY == 0 and step.step < work.needs.steps:
            write_tensors(run.checkpoint, step.snapshot())
        preview(step.step)
    if first:
        _write_layers(work, task, moved=True)
        write_tensors(run.folder / "weights.safetensors", {name: w.detach().cpu() for name, w in task.weights.items()})
        run.checkpoint.unlink(missing_ok=True)
        run.complete("predictions", seconds=round(prepared - start, 3))


def _task(work: Work, need: Need | None) -> Task:
    """The UNet, the weights that may change, and this process's part of every batch."""
    job, wants = work.job, work.needs
    unet: Any = work.model.unet()
    if need is not None and need.checkpointing:
        unet.enable_gradient_checkpointing()
    rounds = min(wants.steps, ROUNDS)
    seen = max(rounds, wants.sensitivity_batches) if rounds else 0
    told = dict.fromkeys(wants.predictions, seen)
    imitated = rounds if wants.retain_target == "original" else 0
    with _edits(job.method, wants):
        weights = open_scope(unet, wants.scope)
    scheduler, latents = work.model.noise_scheduler(), read_latents(work.run.latents, wants.anchor_pictures)
    watched = any(getattr(work.method, name, None) is not None for name in ("guard", "gone"))
    latents, held = hold_out(latents) if watched else (latents, None)
    beside: dict[str, Any] = {"share": (work.rank, work.world), "micro_batch": need.micro_batch if need else None}
    beside["forget_between"] = shares(getattr(work.method, "forget_timesteps", "0-1"))
    anchored = told.pop("anchor", 0)
    task = diffusion_task(
        unet, scheduler, latents, weights, wants.batch, job.seed, anchored, imitated, wants.first_batch_only, wants.empty_captions,
        DTYPES[job.dtype], work.progress("predictions"), predicted=told, relabelled=wants.unlearn == "random", **beside,
    )  # fmt: skip
    if held is not None:
        task.probe = diffusion_task(
            unet, scheduler, held, weights, wants.batch, job.seed + 1_000_003, BATCHES if anchored else 0, 0, False, 0.0,
            DTYPES[job.dtype], **beside,
        )  # fmt: skip
    return task


def _preview(work: Work, task: Task) -> Callable[[int], None]:
    """Draws the same two pictures with the network as it is now, for whoever watches; the run does not depend on them."""
    every, folder = work.job.preview_every, work.run.folder / "preview"
    if not every or work.rank > 0:
        return lambda step: None
    texts = [prompts(work.concept, role, 1, work.job.seed)[0].text for role in ("evaluate", "evaluate-retain")]
    folder.mkdir(exist_ok=True)
    (folder / "prompts.jsonl").write_text(lines_of({"prompt": text} for text in texts), encoding="utf-8")
    model = open_model(work.folder, work.job.device, "float32", work.job.size).of(task.network)
    sample = model.sampler(int(work.job.sampling_steps or 1), float(work.job.guidance or 0.0))

    def draw(step: int) -> None:
        if step % every and step != work.needs.steps:
            return
        for i, image in enumerate(sample(texts, [generator(work.job.seed, "preview", i) for i in range(len(texts))])):
            with written(folder / f"{step:05d}-{i}.png") as part:
                image.save(part, "PNG")

    return draw


def _write_layers(work: Work, task: Task, moved: bool = False) -> None:
    """layers.json: for each weight tensor how sensitive it was, the share trimmed, and how far it has moved; no single weight."""
    path = work.run.folder / "layers.json"
    found = {row["name"]: row for row in json.loads(path.read_text())["weights"]} if path.exists() else {}
    rows = {name: {"name": name, "numel": w.numel(), **task.layers.get(name, found.get(name, {}))} for name, w in task.weights.items()}
    files = [file for file in weight_files(work.folder / "unet").values() if file.suffix == ".safetensors"] if moved else []
    for file in files:
        with safe_open(file, "pt") as originals:
            for name in sorted(rows.keys() & set(originals.keys())):
                original, now = originals.get_tensor(name).float(), task.weights[name].detach().cpu().float()
                rows[name]["moved"] = float((now - original).norm() / original.norm().clamp(min=1e-12))
    write_json(path, {"weights": list(rows.values())})


def _export(work: Work) -> None:
    """The erased model as a complete folder that needs nothing of ours."""
    if work.rank > 0:
        return
    changed: dict[str, Tensor] = load_file(work.run.folder / "weights.safetensors")
    job = work.job
    model = job.model or ""
    provenance = {
        "concept": work.name, "method": job.method, "preset": job.preset, "seed": str(job.seed),
        "source": Path(model).name if Path(model).exists() else model, "options": asdict(work.method),
    }  # fmt: skip
    export(work.finished or work.folder, changed, work.run.model, provenance, overwrite=True)
