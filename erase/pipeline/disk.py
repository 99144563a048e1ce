"""Estimate of the disk space that a run takes, checked before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from erase.checkpoints.check.networks import NETWORKS, number_of_weights, part_class, part_config
from erase.checkpoints.folder import components, config_of, edited_part, is_bare, latent_factor, size_of, weight_files
from erase.checkpoints.lora.low_rank import full_rank
from erase.diffusion import DTYPES
from erase.diffusion.memory import gigabytes
from erase.diffusion.prediction import Reads, reads
from erase.diffusion.text_memory import text_weights
from erase.errors import InputError
from erase.methods import Requirements
from erase.pipeline.job import TEXT, Job
from erase.scope import in_scope, pattern_of
from erase.torchvision_compat import check_torchvision
from erase.training.optimizers import STATE_BYTES

TOKENS = 77  # of a prompt, in CLIP


def enough_disk(run: Path, model: Path, job: Job, wants: Requirements, checkpoint_every: int = 20) -> str:
    """A phrase with the disk space that the run takes and what is free; InputError if that is not enough.

    Images count as half of their raw size, which photographs seldom exceed as PNG.
    """
    need = disk_need(model, job, wants, checkpoint_every)
    present = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) if run.exists() else 0
    free = shutil.disk_usage(next(folder for folder in (run, *run.absolute().parents) if folder.exists())).free
    missing = max(sum(need.values()) - present, 0)
    if missing > free:
        most = ", ".join(f"{what} {gigabytes(count)}" for what, count in sorted(need.items(), key=lambda item: -item[1])[:3])
        raise InputError(
            f"the run needs about {gigabytes(missing)} more disk space ({most}), and {gigabytes(free)} are free at {run}; "
            "free some space, or give an --output on another disk"
        )
    return f"about {gigabytes(sum(need.values()))}, {gigabytes(free)} free"


def disk_need(model: Path, job: Job, wants: Requirements, checkpoint_every: int = 20) -> dict[str, int]:
    """Kind of file that a run writes -> bytes at most."""
    side, sizes = job.size or size_of(model), _reads(model)
    drawn = generated_images(job, wants)
    sampled = 2 * (5 * (job.evaluate_count or 0) // 2)
    factor = latent_factor(model)
    latents = 4 * sizes.channels * (side // factor) ** 2
    text = 4 * sizes.tokens * sizes.width
    scoped, trained = _edited_weights(model, wants.scope, job) if wants.steps else (0, 0)
    state = 4 + (STATE_BYTES[wants.optimizer][0] if wants.optimizer else 0)
    return {
        "images": (drawn + sampled) * side * side * 3 // 2,
        "latents": drawn * (latents + text),
        "changed weights": 4 * (scoped + trained * (job.lora_rank is not None)),
        "checkpoint": 2 * state * trained if wants.steps > checkpoint_every else 0,  # a new one is written beside the old
        "model": _model_bytes(model, DTYPES[job.dtype].itemsize),
    }


def _model_bytes(model: Path, width: int) -> int:
    """Size of the weight files; of a folder without weights what they would take at `width` bytes per weight."""
    if is_bare(model):
        return width * sum(number_of_weights(model, part) for part in components(model) if part in NETWORKS)
    return sum(path.stat().st_size for part in components(model) for path in weight_files(model / part).values())


def generated_images(job: Job, wants: Requirements) -> int:
    """Number of training images that a job generates."""
    counts = {"forget": job.forget_count or 0, "retain": job.retain_count or 0}
    own = sum(count for role, count in counts.items() if role in wants.images)
    return own + counts["forget"] * (wants.anchor and wants.anchor_images)


def _edited_weights(model: Path, scope: str, job: Job) -> tuple[int, int]:
    """Number of weights in scope of the part that is edited, and of those that are trained: the same, or their factors."""
    if job.part == TEXT:
        pattern = pattern_of(scope, text_encoder=True)
        return (sum(size for name, size in text_weights(model).items() if pattern.search(name)),) * 2
    import torch

    check_torchvision()
    import diffusers

    edited = edited_part(model).name
    with torch.device("meta"):
        network = getattr(diffusers, part_class(model, edited)).from_config(config_of(model, edited, "config.json"))
    weights = list(in_scope(network, scope).values())
    everything = sum(weight.numel() for weight in weights)
    matrices = [weight for weight in weights if weight.ndim > 1]
    factors = sum(min(job.lora_rank or 0, full_rank(weight)) * (len(weight) + weight[0].numel()) for weight in matrices)
    return everything, everything if job.lora_rank is None else factors


def _reads(model: Path) -> Reads:
    part = edited_part(model).name
    return reads(part_class(model, part), part_config(model, part), TOKENS)
