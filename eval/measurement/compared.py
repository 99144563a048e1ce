"""The two models that an evaluation compares: the original, and what was made of it, as a model or as a small file on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erase.concepts.record import names_of
from erase.concepts.several import JOINT, Concepts, load_concepts
from erase.diffusion import StableDiffusion, locate, open_model, pick_device
from erase.errors import InputError
from erase.files import sha256
from erase.run import Run
from eval.options import Evaluation
from eval.prompt_sets import check_measured
from eval.protocols import Protocol
from eval.samples import WHICH


def compared_models(job: Evaluation, protocol: Protocol | None) -> tuple[dict[str, StableDiffusion], Concepts]:
    """The two models, "before" and "after", and the concepts, mostly one. A run folder has its own original and concepts."""
    original, after, names = _named(job)
    if original is None:
        subject = str(job.model or job.lora)
        unknown = "" if Path(subject).exists() else " is no file or folder here, and a model of that name on the hub"
        message = f"{subject}{unknown} does not record its original; give the model before the erasure with --original"
        raise InputError(message, option="original")
    if not names:
        message = f"{job.model or job.lora} does not record which concept was erased; give it with --concept"
        raise InputError(message, option="concept")
    concepts = load_concepts(names, original)
    check_covered(job, protocol, concepts)  # before anything is downloaded
    device = pick_device(job.device)
    size = job.size or (protocol.size if protocol else None)
    source = locate(original, job.parts or job.tokenizer)
    erased = source if job.lora else locate(after, job.parts or job.tokenizer or str(source))  # erasing changes no tokenizer
    models = {which: open_model(folder, device, job.dtype, size) for which, folder in zip(WHICH, (source, erased), strict=True)}
    models["before"].name, models["after"].name = original, job.model or original
    if job.lora:
        from erase.diffusion.small_file import with_small_file

        with_small_file(models["after"], Path(job.lora), float(job.strength)).name = f"{original} + {Path(job.lora).name}"
    return models, concepts


def _named(job: Evaluation) -> tuple[str | None, str, tuple[str, ...]]:
    """Original, erased model and concepts, as far as the job or the run's folder names them."""
    path = Path(job.model)
    original, names, after = job.original, tuple((job.concept or "").split(JOINT)) if job.concept else (), job.model
    if not path.exists() and job.model.startswith((".", "/", "~")):
        message = f"{job.model} does not exist; expected a run folder, a pipeline folder, a .safetensors checkpoint or a hub name"
        raise InputError(message, option="model")
    if (path / "options.json").is_file():
        own = Run.read(path).options
        if "method_options" not in own:
            raise InputError(f"{path} is an evaluation; give the run or the model that it measured, {own.get('erased')}", option="model")
        if not (path / "model").is_dir() and not job.lora:
            raise InputError(f"{path} has no model yet; give the run's command again, it resumes where it stopped", option="model")
        return original or own["model"], str(path / "model"), names or names_of(own)
    return original or ((job.model or None) if job.lora else None), after, names


def small_file_record(job: Evaluation) -> dict[str, Any]:
    """What options.json has of a LoRA or difference file; nothing without one."""
    if not job.lora:
        return {}
    path = Path(job.lora)
    return {"lora": {"file": path.name, "sha256": sha256(path), "strength": job.strength}}


def check_covered(job: Evaluation, protocol: Protocol | None, concepts: Concepts) -> None:
    """InputError for a concept that the protocol does not measure. With another detector it measures what that one finds."""
    if protocol is not None and len(concepts) == 1 and job.detector in (None, protocol.detector):
        check_measured(protocol, concepts[0])
