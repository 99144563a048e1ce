"""The stages of a job, one after another: images, samples before, latents, erasing, export, samples after.

A stage whose output is complete is skipped, so the same command on the same folder resumes where it stopped. The result is the
same to the bit: everything random depends on the seed and an index, never on what ran before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from erase.checkpoints.export import export
from erase.checkpoints.folder import GUIDANCE
from erase.checkpoints.model_card import write_card
from erase.checkpoints.safetensors_header import load_tensors
from erase.diffusion.memory import Need
from erase.files import write_json
from erase.pipeline.disk import enough_disk
from erase.pipeline.drawing import after, before, images, latents
from erase.pipeline.erasing import erase
from erase.pipeline.job import STAGES, Event, Job, Show
from erase.pipeline.resolve import resolve_job
from erase.pipeline.session import Session, memory_need
from erase.processes import agree
from erase.torchvision_compat import check_torchvision


def run_stages(job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None, pool: Path | None = None) -> Path:
    """Do the stages that are not complete yet; returns the run folder. See `erase.pipeline.erase_concept`."""
    check_torchvision()  # before anything is written
    with Session.open(resolve_job(job, values), show, pool) as session:
        need = _settled(session)
        do: dict[str, Callable[[Session], None]] = {
            "images": images,
            "before": before,
            "latents": latents,
            "erase": partial(erase, need=need),
            "export": _export,
            "after": after,
        }
        for name in STAGES:
            if agree(_complete(session, name)):
                session.show(Event(name, 1, 1, note="done before"))
            else:
                with session.stage(name):
                    do[name](session)
        return session.run.folder


def _complete(session: Session, stage: str) -> bool:
    return session.run.done(stage) and all(path.exists() for path in _outputs(session, stage))


def _settled(session: Session) -> Need | None:
    """Check memory and disk before any work. None where repair is done already."""
    if agree(_complete(session, "erase")):
        return None
    need, sentence = memory_need(session.resolved)
    session.show(Event("memory", 0, 0, note=sentence))
    if session.rank == 0:
        session.show(
            Event("disk", 0, 0, note=enough_disk(session.run.folder, session.folder, session.resolved.counted, session.requirements))
        )
    return agree(need)


def _outputs(session: Session, stage: str) -> list[Path]:
    """What a stage leaves in the run folder: a stage is skipped only while all of it exists."""
    run = session.run
    folders = {"forget": run.forget_images, "retain": run.retain_images}
    return {
        "images": [folder for role, folder in folders.items() if session.resolved.generates(role)]
        + [run.anchor_images] * session.resolved.generates_anchors,
        "before": [run.samples("before"), run.folder / "samples" / "prompts.jsonl"],
        "latents": [run.latents],
        "erase": [run.folder / "weights.safetensors"],
        "export": [run.model],
        "after": [run.samples("after")],
    }[stage]


def _export(session: Session) -> None:
    """The erased model as a complete folder that needs nothing of ours."""
    if session.rank > 0:
        return
    changed = load_tensors(session.run.folder / "weights.safetensors")
    job = session.job
    model = job.model or ""
    provenance = {
        "concept": session.resolved.name, "method": job.method, "preset": job.preset, "seed": str(job.seed),
        "source": Path(model).name if Path(model).exists() else model, "options": asdict(session.method),
    }  # fmt: skip
    guidance = session.method.guidance(tuple(word for concept in session.concepts for word in concept.words))
    export(session.resolved.finished or session.folder, changed, session.run.model, provenance, overwrite=True)
    if guidance is not None:
        write_json(session.run.model / GUIDANCE, asdict(guidance))
        write_card(session.run.model)
