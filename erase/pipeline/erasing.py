"""The stage `erase`: the method on the cached latents, with checkpoints, previews and a record of every tensor."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from erase.checkpoints.safetensors_header import load_tensors
from erase.concepts import prompts
from erase.diffusion import DTYPES, DiffusionBatch, StableDiffusion, open_model
from erase.diffusion.memory import Need
from erase.diffusion.text_network import TextEncoders
from erase.files import write_tensors, written
from erase.methods.unreproduced import of_diffusion
from erase.pipeline.job import PREVIEWED, Event
from erase.pipeline.results import values_of, write_layers, write_weights
from erase.pipeline.session import Session
from erase.pipeline.tasks import make_task
from erase.processes import sharding, wait
from erase.run import lines_of
from erase.task import Task, generator

CHECKPOINT_EVERY = 20


def erase(work: Session, need: Need | None = None) -> None:
    """Run the method, with a checkpoint every few steps; a resumed run repeats only the steps after the last one."""
    run, method, first = work.run, work.method, work.rank == 0
    if work.resolved.finished is not None:  # the model is finished: there is nothing to change
        write_tensors(run.folder / "weights.safetensors", {}, {"changed": "nothing"})
        return
    work.model.free()
    if "empty" in work.requirements.predictions and not work.model.neutral:
        note = "the empty prompt is not a neutral of this model, which was distilled with guidance; an anchor is the safer choice"
        work.show(Event("erase", 0, work.requirements.steps, note=note))
    start = time.perf_counter()
    task = make_task(work, need)
    resume = load_tensors(run.checkpoint, ["step"]) if run.checkpoint.exists() else None
    wait()  # until all processes have read it
    if first:
        run.truncate_steps(int(resume["step"]) if resume else 0)
    prepared = time.perf_counter()
    preview = _preview(work, task)
    preview(0)
    for step in method(task, resume):
        work.show(Event("erase", step.step, work.requirements.steps, step))
        if message := step.held_out.get("guard"):
            work.show(Event("erase", step.step, work.requirements.steps, note=f"step {step.step}: {message}"))
        if not first:
            continue
        if step.step == 1:
            learning_rate = method.rate(task.weights)
            rate = {} if learning_rate is None else {"learning_rate": learning_rate}
            differs = of_diffusion(work.job.method, work.job.preset)
            facts = {**rate, **({"differs": differs} if differs else {})}
            run.complete("score", seconds=round(time.perf_counter() - prepared - step.seconds, 3), **facts)
            write_layers(work, task)
        run.append_step(step.record())
        if step.step % CHECKPOINT_EVERY == 0 and step.step < work.requirements.steps:
            write_tensors(run.checkpoint, step.snapshot())
        preview(step.step)
    weights = values_of(task) if first or sharding() else {}
    if first:
        write_weights(work, task, weights)
        run.checkpoint.unlink(missing_ok=True)
        run.complete("predictions", seconds=round(prepared - start, 3))


def _preview(work: Session, task: Task[DiffusionBatch]) -> Callable[[int], None]:
    """A function that draws the same two images with the current network, for the page; the run does not depend on them."""
    every, folder = work.job.preview_every, work.run.folder / "preview"
    if not every or work.rank > 0:
        return lambda step: None
    texts = [prompts(work.concept, role, 1, work.job.seed)[0].text for role in PREVIEWED]
    folder.mkdir(exist_ok=True)
    (folder / "prompts.jsonl").write_text(lines_of({"prompt": text} for text in texts), encoding="utf-8")
    dtype = work.resolved.frozen_dtype
    model: StableDiffusion
    if isinstance(task.network, TextEncoders):
        model = task.network.model
    else:
        model = open_model(work.folder, work.job.device, dtype, work.job.size).of(task.network)
    sample = model.sampler(int(work.job.sampling_steps or 1), float(work.job.guidance or 0.0))

    def draw(step: int) -> None:
        if step % every and step != work.requirements.steps:
            return
        with torch.autocast(work.job.device.partition(":")[0], DTYPES[dtype], enabled=dtype != "float32"):  # what is trained is in float32
            images = sample(texts, [generator(work.job.seed, "preview", i) for i in range(len(texts))])
        if isinstance(task.network, TextEncoders):
            task.network.place()
        for i, image in enumerate(images):
            with written(folder / f"{step:05d}-{i}.png") as part:
                image.save(part, "PNG")

    return draw
