"""What a job will cost, before it starts: time, memory and disk. Writes nothing, and loads the edited network alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from erase.checkpoints.folder import is_bare, latent_factor
from erase.concepts.english import spoken_duration
from erase.diffusion.memory import UNLIMITED, gigabytes
from erase.errors import InputError
from erase.pipeline.disk import disk_need, enough_disk
from erase.pipeline.job import Job
from erase.pipeline.resolve import ResolvedJob, resolve_job
from erase.pipeline.session import memory_need
from erase.processes import processes
from erase.run import RUNS

TOKENS = 77  # of a prompt
LONG = 0.3  # seconds of measuring from which two forward passes are enough: a long one varies little


class Estimate(NamedTuple):
    """Seconds and bytes, each with a sentence about it. A job that does not fit is described by the sentence, with 0 bytes."""

    seconds: int
    time: str
    memory_bytes: int
    memory: str
    disk_bytes: int
    disk: str
    device: str
    model: str
    memory_parts: dict[str, int] = {}  # noqa: RUF012 (never changed)
    """What repair takes, by what it is for; and `drawing`, at other times, as a whole."""


def estimate(job: Job, values: Mapping[str, Any] | None = None) -> Estimate:
    """The cost of a job; `values` are options of its method.

    The time is that of one forward pass of the network, measured here and now, times the passes of the stages' plan. Of a folder of
    configurations without weights memory and disk are estimated, without regard to what this machine has.
    """
    return estimate_resolved(resolve_job(job, values, weights=False))


def estimate_resolved(resolved: ResolvedJob) -> Estimate:
    """The cost of a resolved job."""
    plan = resolved.plan()
    passes = sum(plan.stage(name).passes for name in ("images", "before", "erase", "after"))
    bare = is_bare(resolved.folder)
    seconds = 0.0 if bare else _forward_pass(resolved) * passes / processes()[1]
    parts: Mapping[str, int] = {}
    try:
        need, memory = memory_need(resolved, UNLIMITED if bare else None)
        peak, parts = need.peak, {**need.parts, "drawing": need.drawing}
    except InputError as error:
        peak, memory = 0, str(error)
    folder, counted, required = resolved.folder, resolved.counted, resolved.requirements
    try:
        disk = enough_disk(RUNS, folder, counted, required)
    except InputError as error:
        disk = str(error)
    return Estimate(
        seconds=round(seconds),
        time="not measured: this folder has no weights" if bare else f"about {spoken_duration(max(10, round(seconds, -1)))}",
        memory_bytes=peak,
        memory=memory,
        disk_bytes=sum(disk_need(folder, counted, required).values()),
        disk=disk,
        device=resolved.job.device,
        model=str(resolved.job.model),
        memory_parts=dict(parts),
    )


def _forward_pass(resolved: ResolvedJob) -> float:
    """Seconds of the network per image, in a batch as large as those of the job."""
    import torch

    from erase.diffusion import DTYPES, open_model, predict
    from erase.diffusion.prediction import reads

    job, batch, dtype = resolved.job, 2 * int(resolved.job.sampling_batch or 1), DTYPES[resolved.job.dtype]
    network: Any = open_model(resolved.folder, job.device, job.dtype, job.size).network(dtype)
    torch.nn.Module.to(network, dtype)  # diffusers' own warns of modules to be kept in float32, even where there are none
    sizes = reads(type(network).__name__, network.config, TOKENS)
    side = resolved.size // latent_factor(resolved.folder)
    here: dict[str, Any] = {"device": job.device, "dtype": dtype}
    noisy, timesteps = torch.zeros(batch, sizes.channels, side, side, **here), torch.zeros(batch, **here)
    conditioning = sizes.conditioning(partial(torch.zeros, **here), batch)
    spent: list[float] = []
    with torch.no_grad():
        while len(spent) < 2 or (len(spent) < 3 and sum(spent) < LONG):  # the first one warms up
            start = time.perf_counter()
            predict(network, noisy, timesteps, conditioning, torch.float32).float().sum().item()
            spent.append(time.perf_counter() - start)
    return min(spent[1:]) / batch


def lines(cost: Estimate) -> str:
    """The estimate as lines of text."""
    repair = {name: size for name, size in cost.memory_parts.items() if name != "drawing"}
    made_of = ", ".join(f"{name} {gigabytes(size)}" for name, size in repair.items())
    memory = cost.memory
    if made_of:
        memory += f"\n        repair {gigabytes(sum(repair.values()))}: {made_of}"
        memory += f"\n        drawing {gigabytes(cost.memory_parts['drawing'])}"
    return f"time    {cost.time}\nmemory  {memory}\ndisk    {cost.disk}\non      {cost.device}, {cost.model}"
