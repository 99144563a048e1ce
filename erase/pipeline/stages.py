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

from safetensors.torch import load_file
from torch import Tensor

from erase.checkpoints.export import export
from erase.diffusion.memory import Need
from erase.pipeline.disk import enough_disk
from erase.pipeline.drawing import after, before, images, latents
from erase.pipeline.erasing import erase
from erase.pipeline.image_sets import drawn, draws_anchors
from erase.pipeline.job import STAGES, Event, Job, Show
from erase.pipeline.session import Work
from erase.processes import agree


def run_stages(job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None, pool: Path | None = None) -> Path:
    """Do the stages that are not complete yet; returns the run folder. See `erase.pipeline.erase_concept`."""
    with Work(job, values, show, pool=pool) as work:
        need = _settled(work)
        do: dict[str, Callable[[Work], None]] = {
            "images": images,
            "before": before,
            "latents": latents,
            "erase": partial(erase, need=need),
            "export": _export,
            "after": after,
        }
        for name in STAGES:
            if agree(_complete(work, name)):
                work.show(Event(name, 1, 1, note="done before"))
            else:
                with work.stage(name):
                    do[name](work)
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
    return agree(need)


def _outputs(work: Work, stage: str) -> list[Path]:
    """What a stage leaves in the run folder: a stage is only skipped where it is still there."""
    run = work.run
    folders = {"forget": run.forget_images, "retain": run.retain_images}
    return {
        "images": [folder for role, folder in folders.items() if drawn(work, role)] + [run.anchor_images] * draws_anchors(work),
        "before": [run.samples("before"), run.folder / "samples" / "prompts.jsonl"],
        "latents": [run.latents],
        "erase": [run.folder / "weights.safetensors"],
        "export": [run.model],
        "after": [run.samples("after")],
    }[stage]


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
