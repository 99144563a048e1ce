"""What the attacks on weights share: ordinary training of a UNet on images, with its own training loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import nn

from erase.diffusion import DiffusionBatch, TaskConfig, diffusion_task
from erase.diffusion.latents import ImageLatents, Latents
from erase.scope import open_scope
from erase.task import Task
from eval.attacks.attack import Goal, Target, latents_of
from eval.attacks.victim import BACKWARD, Victim
from eval.options import RATES
from eval.relearning import SEED, descend

BATCH = 16


def task_of(victim: Victim, network: nn.Module, known: Sequence[Target], seed: int, batch: int = BATCH) -> Task[DiffusionBatch]:
    """The task of training all weights of a UNet on images under their own prompts, as `--relearn` of a bench does."""
    clean = latents_of(victim, [target.picture for target in known])
    texts = ["", *dict.fromkeys(target.text for target in known)]
    embeddings, sizes = victim.embed(texts), victim.model.time_ids()
    rows = torch.tensor([texts.index(target.text) for target in known])
    pictures = ImageLatents(clean, rows, torch.zeros(len(known), 0, dtype=torch.int64))
    latents = Latents(pictures, pictures, embeddings.text.cpu(), None if embeddings.pooled is None else embeddings.pooled.cpu(), sizes)
    config = TaskConfig(batch, seed + SEED, dtype=victim.model.dtype)
    return diffusion_task(network, victim.objective, latents, open_scope(network, "full"), config)


def trained(victim: Victim, task: Task[DiffusionBatch], stops: Sequence[int], rate: float | None = None) -> Iterator[int]:
    """Train by Adam, and yield the number of steps at each of `stops`."""
    update = torch.optim.Adam(task.weights.values(), lr=rate or RATES[victim.small])
    for step in range(1, stops[-1] + 1):
        descend(task, step, update)
        if step in stops:
            task.network.requires_grad_(False)
            yield step
            task.network.requires_grad_(True)


def passes(steps: int, batch: int = BATCH) -> int:
    """UNet passes of a number of steps."""
    return steps * batch * (1 + BACKWARD)


def named(victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> list[Image.Image]:
    """Images of the prompts that name the goal, with the current weights."""
    return victim.draw(victim.embed([goal.of(i).text for i in attempts]), goal.sources(seed, attempts), scales=goal.scales(attempts))
