"""Latents made up, tasks on them, and what their batches hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erase.diffusion import StableDiffusion, diffusion_task
from erase.diffusion.latents import ImageLatents, Latents
from erase.scope import open_scope
from erase.task import Task, generator

TEXTS = 6


BATCH = 4


def made_up(forget: int = 5, retain: int = 7) -> Latents:
    """Random latents and texts; forget picture i has text 1 and the anchors 2 and 3, retain pictures the texts 4 and 5."""
    source = generator("latents")
    return Latents(
        forget=ImageLatents(
            torch.randn(forget, 4, 8, 8, generator=source), torch.full((forget,), 1), torch.tensor([[2, 3]]).expand(forget, 2)
        ),
        retain=ImageLatents(
            torch.randn(retain, 4, 8, 8, generator=source), 4 + torch.arange(retain) % 2, torch.zeros(retain, 0, dtype=torch.int64)
        ),
        text=torch.randn(TEXTS, 32, 16, generator=source),
    )


@pytest.fixture
def model(tiny_pipeline: Path) -> StableDiffusion:
    return StableDiffusion(tiny_pipeline)


def scheduler_that_predicts(kind: str, model: StableDiffusion) -> Any:
    scheduler = model.noise_scheduler()
    return type(scheduler).from_config(scheduler.config, prediction_type=kind)


def task_of(model: StableDiffusion, kind: str = "v_prediction", **options: Any) -> Task:
    unet = model.unet()
    latents = options.pop("latents", None) or made_up()
    return diffusion_task(
        unet, scheduler_that_predicts(kind, model), latents, open_scope(unet, "cross-attention"), **{"batch": BATCH, **options}
    )


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows_of(batch: Any, texts: Tensor) -> list[int]:
    """Which text each picture of a batch came with."""
    return [int((texts == text).flatten(1).all(1).nonzero()[0]) for text in batch["text"]]
