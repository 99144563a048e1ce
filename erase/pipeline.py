"""The main job, stage by stage: pictures, latents, erasing, export, samples. Each stage reads and writes the run folder.

A stage whose output is complete is skipped, so the same command on the same folder goes on where it stopped, and the
result is the same to the bit: whatever is random depends on the seed and a number, never on what ran before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from erase.anchors import choose_anchors
from erase.concepts import Prompt, anchors_for, chosen_anchor, load_concept, prompts, with_anchors
from erase.diffusion import DTYPES, StableDiffusion, diffusion_task, locate, open_model, pick_device
from erase.export import export, weight_hashes
from erase.files import write_json, write_tensors, written
from erase.images import Picture, make_images, read_images
from erase.latents import cache_latents, read_latents
from erase.methods import make_method
from erase.options import check, option
from erase.run import Run, differences, disk_errors, lines_of, list_runs, next_run_folder, read_lines
from erase.scope import open_scope
from erase.task import InputError, Step

STAGES = ("images", "before", "latents", "erase", "export", "after")
CHECKPOINT_EVERY = 20
ROUNDS = 128  # batches whose predictions by the original are kept; a longer repair sees them again
RUNS = Path("runs")


@dataclass(frozen=True)
class Event:
    """Something to show: `done` of `total` in a stage, and the step where there is one."""

    stage: str
    done: int
    total: int
    step: Step | None = None
    note: str = ""


Show = Callable[[Event], None]


@dataclass(frozen=True)
class Job:
    """What to erase, from what, and how much of everything. None: the model's own default."""

    concept: str = option("", "name of a concept file, path of one, or plain words")
    model: str | None = option(
        None, "demo, a diffusers folder, a .safetensors checkpoint, or a hub name; by default the one that the concept file names"
    )
    tokenizer: str | None = option(None, "folder with vocab.json and merges.txt of CLIP, which a .safetensors checkpoint does not hold")
    prediction_type: str | None = option(
        None, "what a .safetensors checkpoint predicts, where it does not say so itself", choices=("epsilon", "v_prediction")
    )
    method: str = option("scissorhands", "how to erase; `erase-concept methods` lists them")
    preset: str = option("balanced", "a named set of values for the method's options")
    output: str | None = option(None, "run folder; by default runs/<concept>-<model>-<method>-<n>")
    seed: int = option(0, "everything random follows from it", low=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = option("float32", "arithmetic of the networks; weights are trained in float32", choices=tuple(DTYPES))
    anchor: str | None = option(None, "what takes the concept's place: words, separated by commas")
    forget_images: str | None = option(None, "folder of pictures of the concept, instead of drawing them")
    forget_image_captions: str | None = option(None, "captions of --forget-images: a .csv (file,prompt) or .jsonl file")
    retain_images: str | None = option(None, "folder of pictures to keep, with captions, instead of drawing them")
    retain_image_captions: str | None = option(None, "captions of --retain-images: a .csv (file,prompt) or .jsonl file")
    forget_count: int | None = option(None, "pictures of the concept that are drawn", low=1)
    retain_count: int | None = option(None, "pictures to keep that are drawn", low=1)
    evaluate_count: int | None = option(
        None, "pictures before and after that name the concept; as many that do not, and half as many implicit", low=1
    )
    sampling_steps: int | None = option(None, "denoising steps a picture", low=1)
    guidance: float | None = option(None, "classifier-free guidance of sampling", low=0.0)
    sampling_batch: int | None = option(None, "pictures drawn at once", low=1)
    overwrite: bool = option(False, "start anew in a run folder that holds another run")

    def __post_init__(self) -> None:
        check(self)
        for role in ("forget", "retain"):
            if getattr(self, f"{role}_image_captions") is not None and getattr(self, f"{role}_images") is None:
                raise InputError(f"--{role}-image-captions describes the pictures of --{role}-images, which is not given; give both")
            if getattr(self, f"{role}_count") is not None and getattr(self, f"{role}_images") is not None:
                raise InputError(
                    f"--{role}-count is how many pictures are drawn, but --{role}-images brings them along; give one of the two"
                )


DEFAULTS = {  # what None stands for: the embedded model, and Stable Diffusion (400 and 400 pictures as in the paper)
    True: {"forget_count": 96, "retain_count": 288, "evaluate_count": 48, "sampling_steps": 25, "guidance": 4.0, "sampling_batch": 48},
    False: {"forget_count": 400, "retain_count": 400, "evaluate_count": 50, "sampling_steps": 50, "guidance": 7.5, "sampling_batch": 4},
}


class Work:
    """A run in progress: the open run folder, the concept, the method and the model. Close it (it is a context manager)."""

    def __init__(self, job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None) -> None:
        self.show: Show = show or (lambda event: None)
        concept = load_concept(job.concept, job.model)
        if job.anchor is not None:
            concept = with_anchors(concept, job.anchor.split(","))
        model = job.model or concept.model
        settings = concept.settings if job.preset == "balanced" else {}
        self.method = make_method(job.method, job.preset, **{**settings, **(values or {})})
        if job.anchor is not None and getattr(self.method, "unlearn", "anchor") != "anchor":
            raise InputError(
                f"--anchor {job.anchor!r} has no part in forgetting by {self.method.unlearn}; leave it out or give --unlearn anchor"
            )
        self.folder = locate(model, job.tokenizer, job.prediction_type)
        defaults = DEFAULTS[_small(self.folder)]
        brought = [f"{role}_count" for role in ("forget", "retain") if getattr(job, f"{role}_images")]
        filled: dict[str, Any] = {k: v for k, v in defaults.items() if getattr(job, k) is None and k not in brought}
        self.job = replace(job, model=model, device=pick_device(job.device), **filled)
        self.model = open_model(self.folder, self.job.device, self.job.dtype)
        self.concept = concept
        options = self._options()
        output = Path(job.output) if job.output else _unfinished(RUNS, options) or next_run_folder(RUNS, concept.name, model, job.method)
        self.run = Run.open(output, options, job.overwrite)

    def _options(self) -> dict[str, Any]:
        aside = ["output", "overwrite", "tokenizer", *(["prediction_type"] if self.job.prediction_type is None else [])]
        given = {k: v for k, v in asdict(self.job).items() if k not in aside}
        settings = asdict(self.method)
        chosen = {"concept_file": asdict(self.concept), "method_options": settings, "weights": weight_hashes(self.folder)}
        sampling = {"scheduler": _scheduler(self.folder), "steps": self.job.sampling_steps, "guidance": self.job.guidance}
        sampling |= {"size": _size(self.folder), "batch": self.job.sampling_batch}
        return {**given, **chosen, "sampling": sampling}

    def close(self) -> None:
        self.run.close()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, note it as complete, and say so."""
        start = time.perf_counter()
        self.show(Event(name, 0, 0))
        with disk_errors(self.run.folder):
            yield
        seconds = round(time.perf_counter() - start, 3)
        self.run.complete(name, seconds=seconds, peak_bytes=peak_bytes(self.job.device))
        self.show(Event(name, 1, 1, note=f"{seconds:.1f} s"))

    def progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.show(Event(name, done, total))


def _unfinished(root: Path, options: Mapping[str, Any]) -> Path | None:
    """The last run of exactly these options that was stopped before its end: without --output it is gone on with."""
    wanted = json.loads(json.dumps(options))
    runs = [Run.read(folder) for folder in list_runs(root)]
    return next((r.folder for r in reversed(runs) if not all(map(r.done, STAGES)) and not differences(r.options, wanted)), None)


def erase_concept(job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None) -> Path:
    """Do the whole job, or what is left of it; returns the run folder. `values` are options of the method.

    InputError for the user's mistakes, Diverged if a loss stops being finite; either leaves a run that can go on.
    """
    with Work(job, values, show) as work:
        for name in STAGES:
            if work.run.done(name) and all(path.exists() for path in _outputs(work, name)):
                work.show(Event(name, 1, 1, note="done before"))
            else:
                with work.stage(name):
                    globals()[f"_{name}"](work)
        return work.run.folder


def _outputs(work: Work, stage: str) -> list[Path]:
    """What a stage leaves in the run folder: a stage is only skipped where it is still there."""
    run = work.run
    drawn = {"forget": run.forget_images, "retain": run.retain_images}
    return {
        "images": [folder for role, folder in drawn.items() if not getattr(work.job, f"{role}_images")]
        + [run.anchor_images] * _draws_anchors(work),
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
        if not getattr(job, f"{role}_images"):
            texts = [p.text for p in _prompts(work, role, int(count or 0))]
            make_images(folder, texts, job.seed, _sampler(work), int(job.sampling_batch or 1), work.progress(f"images: {role}"))
    if _draws_anchors(work):
        texts = [a[0] for a in _anchors(work, _set(work, "forget"))]
        make_images(work.run.anchor_images, texts, job.seed, _sampler(work), int(job.sampling_batch or 1), work.progress("images: anchor"))


def _draws_anchors(work: Work) -> bool:
    return work.method.unlearn == "anchor" and bool(work.method.anchor_pictures)


def _set(work: Work, role: str) -> list[Picture]:
    """The forget or the retain set: the user's own pictures, or those of the run."""
    if getattr(work.job, f"{role}_images"):
        return _user_images(work, role)
    return read_images(work.run.forget_images if role == "forget" else work.run.retain_images)


def _anchors(work: Work, forget: list[Picture]) -> list[list[str]]:
    """The prompt that takes the place of each forget picture's, if there is an anchor at all."""
    if work.job.forget_images:
        several = [anchors_for(work.concept, picture.prompt) for picture in forget]
    else:
        several = [list(p.anchors) for p in prompts(work.concept, "forget", len(forget), work.job.seed)]
    return [[chosen_anchor(work.concept, p.prompt, a)] if a else [] for p, a in zip(forget, several, strict=True)]


def _settle_anchor(work: Work) -> None:
    """Find an anchor where none is given, once; the choice and its reasons stay in anchor.json."""
    concept, path = work.concept, work.run.folder / "anchor.json"
    if path.exists():
        work.concept = with_anchors(concept, json.loads(path.read_text())["anchors"])
    elif not (concept.anchors or concept.anchor_prompts) and getattr(work.method, "unlearn", "anchor") == "anchor":
        job, unet = work.job, work.model.unet()
        found, tested = choose_anchors(
            concept,
            work.model,
            unet,
            int(job.sampling_steps or 1),
            float(job.guidance or 0),
            job.seed,
            progress=work.progress("choosing an anchor"),
        )
        words = [*found.anchors, *found.anchor_prompts]
        reason = "never shows the concept in its test pictures, and nearest to it among those that do not"
        write_json(path, {"anchors": words, "reason": reason, "candidates": [c.record() for c in tested]})
        work.concept = found
        work.show(Event("images", 0, 0, note=f"anchor: {', '.join(words)} ({reason})"))


def _prompts(work: Work, role: str, count: int) -> list[Prompt]:
    found = prompts(work.concept, role, count, work.job.seed)
    limit = getattr(work.method, "retain_captions", None)
    if role == "retain" and limit is not None:
        found = [replace(found[i % min(limit, len(found))], index=i) for i in range(count)]
    return found


def _user_images(work: Work, role: str) -> list[Picture]:
    job = work.job
    folder = Path(getattr(job, f"{role}_images"))
    captions = job.forget_image_captions if role == "forget" else job.retain_image_captions
    named = prompts(work.concept, "forget", 1, job.seed)[0].text if role == "forget" else None
    return read_images(folder, Path(captions) if captions else None, named)


def _sampler(work: Work) -> Any:
    return work.model.sampler(int(work.job.sampling_steps or 1), float(work.job.guidance or 0.0))


def _before(work: Work) -> None:
    """The evaluation prompts, written down, and what the original draws for them."""
    count = int(work.job.evaluate_count or 0)
    rows: list[Prompt] = []
    for role, share in (("evaluate", count), ("implicit", count // 2), ("evaluate-retain", count)):
        rows += prompts(work.concept, role, share, work.job.seed)
    seed = work.job.seed + 1_000_003  # not the noise of the training pictures
    records = [{"index": i, "text": p.text, "role": p.role, "attributes": dict(p.attributes), "seed": seed} for i, p in enumerate(rows)]
    with written(work.run.folder / "samples" / "prompts.jsonl") as part:
        part.write_text(lines_of(records), encoding="utf-8")
    _draw(work, work.model, "before")


def _after(work: Work) -> None:
    """The same prompts and noise through the exported model, as a user would load it."""
    work.model.free()
    _draw(work, open_model(work.run.model, work.job.device, work.job.dtype), "after")


def _draw(work: Work, model: StableDiffusion, which: str) -> None:
    records = read_lines(work.run.folder / "samples" / "prompts.jsonl")
    sample = model.sampler(int(work.job.sampling_steps or 1), float(work.job.guidance or 0.0))
    make_images(
        work.run.samples(which), [r["text"] for r in records], [r["seed"] for r in records], sample, int(work.job.sampling_batch or 1),
        work.progress(which),
    )  # fmt: skip


def _latents(work: Work) -> None:
    """Embed and encode everything that repair will see."""
    _settle_anchor(work)
    job, run = work.job, work.run
    forget, retain = _set(work, "forget"), _set(work, "retain")
    instead = read_images(run.anchor_images) if _draws_anchors(work) else []
    cache_latents(
        run.latents, forget, _anchors(work, forget), retain, work.model.embed, work.model.encode, work.model.size,
        int(job.sampling_batch or 1), work.progress("latents"), instead, work.model.pool, work.model.time_ids(),
    )  # fmt: skip


def _erase(work: Work) -> None:
    """Score, trim, repair. Checkpointed every few steps; a restart repeats nothing but what came after the last one."""
    run, job, method = work.run, work.job, work.method
    work.model.free()
    unet = work.model.unet()
    weights = open_scope(unet, method.scope)
    rounds = min(method.steps, ROUNDS)
    anchored = max(rounds, method.sensitivity_batches) if rounds and method.unlearn == "anchor" else 0
    imitated = rounds if method.retain_target == "original" else 0
    start = time.perf_counter()
    task = diffusion_task(
        unet, work.model.noise_scheduler(), read_latents(run.latents, method.anchor_pictures), weights, method.batch, job.seed,
        anchored, imitated, method.first_batch_only, method.empty_captions, DTYPES[job.dtype], work.progress("predictions"),
    )  # fmt: skip
    resume = load_file(run.checkpoint) if run.checkpoint.exists() else None
    run.truncate_steps(int(resume["step"]) if resume else 0)
    prepared = time.perf_counter()
    step: Step | None = None
    for step in method(task, resume):
        if step.step == 1:
            work.run.complete("score", seconds=round(time.perf_counter() - prepared - step.seconds, 3))
        run.append_step(step.record())
        work.show(Event("erase", step.step, method.steps, step))
        if step.step % CHECKPOINT_EVERY == 0 and step.step < method.steps:
            write_tensors(run.checkpoint, step.snapshot())
    write_tensors(run.folder / "weights.safetensors", {name: w.detach().cpu() for name, w in weights.items()})
    run.checkpoint.unlink(missing_ok=True)
    run.complete("predictions", seconds=round(prepared - start, 3))


def _export(work: Work) -> None:
    """The erased model as a complete folder that needs nothing of ours."""
    changed: dict[str, Tensor] = load_file(work.run.folder / "weights.safetensors")
    job = work.job
    model = job.model or ""
    provenance = {
        "concept": work.concept.name, "method": job.method, "preset": job.preset, "seed": str(job.seed),
        "source": Path(model).name if Path(model).exists() else model, "options": asdict(work.method),
    }  # fmt: skip
    export(work.folder, changed, work.run.model, provenance, overwrite=True)


# --- facts about the model and the machine --------------------------------------------------------------------------


def _config(folder: Path, part: str, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / part / name).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / part / name} cannot be read ({error}); the model folder is not complete") from None


def _size(folder: Path) -> int:
    levels = len(_config(folder, "vae", "config.json")["block_out_channels"])
    size: int = _config(folder, "unet", "config.json")["sample_size"] * 2 ** (levels - 1)
    return size


def _small(folder: Path) -> bool:
    return _size(folder) <= 128


def _scheduler(folder: Path) -> str:
    return str(_config(folder, "scheduler", "scheduler_config.json")["_class_name"])


def peak_bytes(device: str) -> int:
    """The most memory this process has held: on the card for CUDA, else resident on the host."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    try:
        import resource
    except ImportError:  # Windows keeps no such figure
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
