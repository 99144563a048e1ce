"""The stage `erase`: the method on the cached latents, with checkpoints, previews and a record of every tensor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from erase.checkpoints.folder import weight_files
from erase.checkpoints.parts import by_part
from erase.checkpoints.safetensors_header import load_tensors, open_tensors
from erase.concepts import prompts
from erase.diffusion import DTYPES, DiffusionBatch, Forgetting, StableDiffusion, TaskConfig, diffusion_task, open_model
from erase.diffusion.distances import Distance, Kind
from erase.diffusion.latents import hold_out, read_latents
from erase.diffusion.memory import Need
from erase.diffusion.text_network import TextEncoders
from erase.files import read_object, write_json, write_tensors, written
from erase.methods.requirements import timestep_range
from erase.methods.unreproduced import of_diffusion
from erase.pipeline.job import PREVIEWED, TEXT, Event
from erase.pipeline.plan import ROUNDS
from erase.pipeline.session import Session, scope_not_empty
from erase.processes import wait
from erase.run import lines_of
from erase.scope import open_scope
from erase.task import Task, generator
from erase.training.guard import BATCHES

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
    task = _task(work, need)
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
            _write_layers(work, task)
        run.append_step(step.record())
        if step.step % CHECKPOINT_EVERY == 0 and step.step < work.requirements.steps:
            write_tensors(run.checkpoint, step.snapshot())
        preview(step.step)
    if first:
        _write_layers(work, task, moved=True)
        write_tensors(run.folder / "weights.safetensors", {name: w.detach().cpu() for name, w in task.weights.items()})
        run.checkpoint.unlink(missing_ok=True)
        run.complete("predictions", seconds=round(prepared - start, 3))


def _task(work: Session, need: Need | None) -> Task[DiffusionBatch]:
    """The network, the weights that may change, and this process's part of every batch."""
    required = work.requirements
    network: Any = _network(work)
    if need is not None and need.checkpointing:
        network.enable_gradient_checkpointing()
    with scope_not_empty(work.job.method, required):
        weights = open_scope(network, required.scope)
    objective, latents = work.model.objective(), read_latents(work.run.latents, required.anchor_images)
    config = _config(work, need)
    if not required.held_out:
        return diffusion_task(network, objective, latents, weights, config, work.progress("predictions"))
    latents, held_out = hold_out(latents)
    task = diffusion_task(network, objective, latents, weights, config, work.progress("predictions"))
    probed = replace(
        config,
        seed=config.seed + 1_000_003,  # not the noise of the training batches
        forget_rounds=BATCHES if config.anchor_predictions and config.forget_rounds else 0,
        before_predictions=config.before_predictions and bool(config.forget_rounds),
        concept_predictions=False,
        empty_predictions=False,
        retain_rounds=0,
        random_anchors=False,
        first_batch_only=False,
        empty_captions=0.0,
    )
    task.probe = diffusion_task(network, objective, held_out, weights, probed)
    return task


def _network(work: Session) -> Any:
    """The part that is edited, in float32 on the device."""
    if work.job.part == TEXT:
        return TextEncoders(open_model(work.folder, work.job.device, "float32", work.job.size))
    return work.model.network()


def _config(work: Session, need: Need | None) -> TaskConfig:
    """The task that the method requires. Predictions exist for as many batches as there are steps, at most ROUNDS."""
    job, required = work.job, work.requirements
    rounds = min(required.steps, ROUNDS)
    return TaskConfig(
        batch=required.batch,
        seed=job.seed,
        forget_rounds=max(rounds, required.sensitivity_batches) if rounds and required.predictions else 0,
        anchor_predictions="anchor" in required.predictions,
        distance=Distance(cast(Kind, required.distance), required.margin, required.sharpness),
        before_predictions="before" in required.predictions,
        concept_predictions="concept" in required.predictions,
        empty_predictions="empty" in required.predictions,
        retain_rounds=rounds if required.retain_target == "original" else 0,
        random_anchors=required.unlearn == "random",
        first_batch_only=required.first_batch_only,
        empty_captions=required.empty_captions,
        forgetting=Forgetting(timestep_range(required.forget_timesteps), required.unnamed, required.redirect),
        dtype=DTYPES[job.dtype],
        share=(work.rank, work.world),
        micro_batch=need.micro_batch if need else None,
    )


def _preview(work: Session, task: Task[DiffusionBatch]) -> Callable[[int], None]:
    """A function that draws the same two images with the current network, for the page; the run does not depend on them."""
    every, folder = work.job.preview_every, work.run.folder / "preview"
    if not every or work.rank > 0:
        return lambda step: None
    texts = [prompts(work.concept, role, 1, work.job.seed)[0].text for role in PREVIEWED]
    folder.mkdir(exist_ok=True)
    (folder / "prompts.jsonl").write_text(lines_of({"prompt": text} for text in texts), encoding="utf-8")
    model: StableDiffusion
    if isinstance(task.network, TextEncoders):
        model = task.network.model
    else:
        model = open_model(work.folder, work.job.device, "float32", work.job.size).of(task.network)
    sample = model.sampler(int(work.job.sampling_steps or 1), float(work.job.guidance or 0.0))

    def draw(step: int) -> None:
        if step % every and step != work.requirements.steps:
            return
        for i, image in enumerate(sample(texts, [generator(work.job.seed, "preview", i) for i in range(len(texts))])):
            with written(folder / f"{step:05d}-{i}.png") as part:
                image.save(part, "PNG")

    return draw


def _write_layers(work: Session, task: Task[DiffusionBatch], moved: bool = False) -> None:
    """layers.json: for each weight tensor its mean sensitivity, the share trimmed, and how far it has moved."""
    path = work.run.folder / "layers.json"
    known = {row["name"]: row for row in read_object(path)["weights"]} if path.exists() else {}
    rows = {name: {"name": name, "numel": w.numel(), **task.layers.get(name, known.get(name, {}))} for name, w in task.weights.items()}
    for part, names in by_part(work.folder, rows).items() if moved else ():
        for file in weight_files(work.folder / part).values():
            if file.suffix != ".safetensors":
                continue
            with open_tensors(file) as originals:
                for stored in sorted(names.keys() & set(originals.keys())):
                    name = names[stored]
                    original, now = originals.get_tensor(stored).float(), task.weights[name].detach().cpu().float()
                    rows[name]["moved"] = float((now - original).norm() / original.norm().clamp(min=1e-12))
    write_json(path, {"weights": list(rows.values())})
