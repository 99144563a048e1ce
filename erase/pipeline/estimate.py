"""What a job will cost, before it starts: time, memory and disk. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from erase.checkpoints.folder import config_of, size_of
from erase.concepts.english import spoken_duration
from erase.errors import InputError
from erase.pipeline.disk import disk_need, enough_disk, pictures_drawn
from erase.pipeline.erasing import ROUNDS
from erase.pipeline.job import Job
from erase.pipeline.session import Work
from erase.run import RUNS

DECODING = 1.15  # drawing takes this much more than its denoising steps alone
PASS = 3  # a forward and backward pass beside a forward pass


def estimate(job: Job, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """seconds, memory_bytes and disk_bytes, and a sentence on each; what would not fit says so in its sentence.

    Time is that of one denoising step, measured here and now, times what the stages will do.
    """
    with Work(job, values, look=True) as work:
        seconds = _seconds(work)
        try:
            need, memory = work.plan()
            peak = need.peak
        except InputError as error:
            peak, memory = 0, str(error)
        disk = sum(disk_need(work.folder, work.counted, work.needs).values())
        try:
            said = enough_disk(RUNS, work.folder, work.counted, work.needs)
        except InputError as error:
            said = str(error)
    return {
        "seconds": round(seconds), "time": f"about {spoken_duration(max(10, round(seconds, -1)))}",
        "memory_bytes": peak, "memory": memory, "disk_bytes": disk, "disk": said,
        "device": work.job.device, "model": work.job.model,
    }  # fmt: skip


def _seconds(work: Work) -> float:
    job, wants, each = work.counted, work.needs, _one_prediction(work)
    pictures = pictures_drawn(job, wants) + 2 * (5 * (job.evaluate_count or 0) // 2)
    drawing = pictures * int(job.sampling_steps or 1) * 2 * DECODING
    rounds = min(wants.steps, ROUNDS)
    known = rounds * (len(wants.predictions) + (wants.retain_target == "original"))
    repair = wants.batch * (known + PASS * (wants.sensitivity_batches + wants.passes * wants.steps))
    return float(each * (drawing + repair) / work.world)


@torch.no_grad()
def _one_prediction(work: Work) -> float:
    """Seconds that the UNet takes for one picture, in a batch as large as those that will be drawn."""
    model, batch = work.model, 2 * int(work.job.sampling_batch or 1)
    unet = model.pipeline.unet
    model.place("unet")
    config, side = unet.config, model.size // (size_of(work.folder) // config_of(work.folder, "unet", "config.json")["sample_size"])
    inputs: dict[str, Any] = {
        "sample": torch.zeros(batch, config.in_channels, side, side),
        "timestep": torch.zeros(batch),
        "encoder_hidden_states": torch.zeros(batch, 77, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": torch.zeros(batch, width), "time_ids": torch.zeros(batch, 6)}
    given = torch.utils._pytree.tree_map(lambda tensor: tensor.to(work.job.device, model.dtype), inputs)
    spent = []
    for _ in range(3):  # the first one warms up
        start = time.perf_counter()
        unet(**given, return_dict=False)[0].float().sum().item()
        spent.append(time.perf_counter() - start)
    model.free()
    return min(spent[1:]) / batch


def lines(found: Mapping[str, Any]) -> str:
    """The estimate for people."""
    return "\n".join(f"{name:8}{found[name]}" for name in ("time", "memory", "disk")) + f"\non      {found['device']}, {found['model']}"
