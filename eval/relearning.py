"""Relearning: fine-tune an erased model on the forget set and generate images at checkpoints, to see how fast the concept returns.

All weights of the UNet are trained, with the loss that the model was trained with; text encoder and autoencoder are frozen.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from erase.diffusion import DiffusionBatch, StableDiffusion, TaskConfig, diffusion_task, open_model
from erase.diffusion.latents import LatentCache, read_latents
from erase.errors import Diverged
from erase.files import read_object, write_json
from erase.files.disk import disk_errors
from erase.images import ByRow, Picture, make_images, read_images
from erase.run import Run, read_lines
from erase.scope import open_scope
from erase.task import Task
from erase.training.micro_batches import count, pieces
from eval.options import RATES, Relearning
from eval.samples import scales_of, scheduler_for

SEED = 3_000_017  # added to the run's seed, so that batches and noise are not those of its repair
FACTS = "relearn.json"


def place(run: Path, step: int) -> Path:
    """The folder of the images after a number of steps."""
    return run / "relearn" / f"{step:05d}"


def relearn(
    run: Run, folder: Path, forget: Path, settings: Relearning, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Fine-tune the model in `folder` on the images in `forget`, and generate a run's first evaluation prompts at checkpoints.

    Images that exist are not generated again. Diverged if a loss stops being finite.
    """
    home, facts = run.folder / "relearn", _facts(settings)
    record = _record(home)
    if record == {**facts, "done": True}:
        return
    if record is not None and record != {**facts, "done": False}:
        shutil.rmtree(home)
    write_json(home / FACTS, {**facts, "done": False})
    with disk_errors(home):
        _teach(run, folder, read_images(forget), settings, progress)
    write_json(home / FACTS, {**facts, "done": True})


def has_relearned(run: Path, settings: Relearning) -> bool:
    """Whether a run has been relearned with these settings."""
    return _record(run / "relearn") == {**_facts(settings), "done": True}


def _facts(settings: Relearning) -> dict[str, Any]:
    return {**asdict(settings), "checkpoints": settings.checkpoints(), "optimizer": "adam", "scope": "full"}


def _record(home: Path) -> dict[str, Any] | None:
    path = home / FACTS
    return read_object(path) if path.exists() else None


def _teach(run: Run, folder: Path, forget: list[Picture], settings: Relearning, progress: Callable[[int, int], None]) -> None:
    options = run.options
    model = open_model(folder, options["device"], options["dtype"], options["sampling"]["size"])
    task = _task(run, model, forget, settings)
    update = torch.optim.Adam(task.weights.values(), lr=settings.relearn_rate or RATES[False])
    model = open_model(folder, options["device"], "float32", options["sampling"]["size"]).of(task.network)
    draw = _drawer(run, model, settings.relearn_count)
    draw(0)
    for step in range(1, settings.relearn + 1):
        descend(task, step, update)
        progress(step, settings.relearn)
        if step in settings.checkpoints():
            draw(step)


def _task(run: Run, model: StableDiffusion, forget: list[Picture], settings: Relearning) -> Task[DiffusionBatch]:
    """The forget images, encoded by this model, and the loss that it was trained with."""
    cache = run.folder / "relearn" / "latents.safetensors"
    if not cache.exists():
        batch = int(run.options["sampling"]["batch"])
        latents = LatentCache(model, batch)
        latents.add_set("forget", forget)
        latents.add_set("retain", forget[:1])
        latents.write(cache)
    network = model.network()
    model.free()
    seed = int(run.options["seed"] or 0) + SEED
    config = TaskConfig(settings.relearn_batch, seed, dtype=model.dtype)
    return diffusion_task(network, model.objective(), read_latents(cache), open_scope(network, "full"), config)


def _drawer(run: Run, model: StableDiffusion, images: int) -> Callable[[int], None]:
    """A function that generates the first prompts that name the concept, with their noise, after a step."""
    sampling = run.options["sampling"]
    steps, scheduler = int(sampling["steps"]), scheduler_for(run, model.folder)
    rows = named_prompts(run.folder, images)
    sample = ByRow(scales_of(rows, float(sampling["guidance"])), lambda guidance: model.sampler(steps, guidance, scheduler))

    def draw(step: int) -> None:
        texts, seeds = [row["text"] for row in rows], [row["seed"] for row in rows]
        make_images(place(run.folder, step), texts, seeds, sample, int(sampling["batch"]))

    return draw


def named_prompts(folder: Path, images: int) -> Sequence[dict[str, Any]]:
    """The first evaluation prompts that name the concept."""
    return [row for row in read_lines(folder / "samples" / "prompts.jsonl") if row["role"] == "evaluate"][:images]


def descend(task: Task[DiffusionBatch], step: int, update: torch.optim.Optimizer) -> None:
    """One optimizer step on a forget batch, in micro-batches."""
    batch, total = task.forget(step - 1), 0.0
    update.zero_grad(set_to_none=True)
    for share, piece in pieces(batch, task.micro_batch or count(batch)):
        with torch.enable_grad():
            loss = task.loss(task.network, piece) * share
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    if not math.isfinite(total):
        raise Diverged(step, "the loss of relearning")
    update.step()
