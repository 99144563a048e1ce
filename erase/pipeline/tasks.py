"""The task of a job: the network with the weights that may change, or their low-rank factors, and batches from the cached latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import nn

from erase.checkpoints.lora.low_rank import add_factors, owners
from erase.diffusion import DTYPES, DiffusionBatch, Forgetting, TaskConfig, diffusion_task, open_model
from erase.diffusion.distances import Distance, Kind
from erase.diffusion.latents import hold_out, read_latents
from erase.diffusion.memory import Need
from erase.diffusion.text_network import TextEncoders
from erase.methods.requirements import timestep_range
from erase.pipeline.job import TEXT
from erase.pipeline.plan import ROUNDS
from erase.pipeline.session import Session, scope_not_empty
from erase.processes import shard, sharding
from erase.scope import open_scope, own_weights, weight_of
from erase.task import Task
from erase.training.guard import BATCHES


def make_task(work: Session, need: Need | None) -> Task[DiffusionBatch]:
    """The network, the weights that may change, and this process's part of every batch."""
    required = work.requirements
    network, weights, base = _network(work)
    if need is not None and need.checkpointing:
        network.enable_gradient_checkpointing()
    objective, latents = work.model.objective(), read_latents(work.run.latents, required.anchor_images)
    config = _config(work, need)
    held_out = None
    if required.held_out:
        latents, held_out = hold_out(latents)
    task = diffusion_task(network, objective, latents, weights, config, work.progress("predictions"))
    task.base = base
    if held_out is None:
        return task
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


def _network(work: Session) -> tuple[Any, dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The network, the weights or factors that are trained, in float32, and the weights that the factors belong to."""
    required, rank, spread = work.requirements, work.job.lora_rank, sharding()
    network: Any
    if work.job.part == TEXT:
        network = TextEncoders(open_model(work.folder, work.job.device, "float32", work.job.size))
    else:
        network = work.model.network(DTYPES[work.resolved.frozen_dtype], "cpu" if spread else None)
    with scope_not_empty(work.job.method, required):
        scoped = open_scope(network, required.scope)
    weights = scoped if rank is None else add_factors(network, scoped, rank, work.job.seed)
    for weight in weights.values():
        weight.data = weight.data.float()
    base = {} if rank is None else {name: scoped[name] for name in dict.fromkeys(map(weight_of, weights))}
    if spread:
        inside = base if base and (required.scored is not None or required.relearns) else weights
        shard(network, owners(network, inside), work.job.device)
        base = {name: weight for name, weight in own_weights(network) if name in base}
    return network, weights, base


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
