"""Latents made up, tasks on them, and what their batches hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erase.diffusion import Conditioning, Denoising, DiffusionBatch, StableDiffusion, TaskConfig, diffusion_task
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


def task_of(
    model: StableDiffusion,
    kind: str = "v_prediction",
    latents: Latents | None = None,
    progress: Any = None,
    scope: str = "cross-attention",
    **options: Any,
) -> Task[DiffusionBatch]:
    """A task of a tiny pipeline; `options` are fields of its TaskConfig. With rounds, batches have the anchor's predictions."""
    unet = model.network()
    config = TaskConfig(**{"batch": BATCH, "anchor_predictions": bool(options.get("forget_rounds")), **options})
    scheduler, weights = scheduler_that_predicts(kind, model), open_scope(unet, scope)
    return diffusion_task(unet, Denoising(scheduler), latents or made_up(), weights, config, progress)


def tensors_of(batch: DiffusionBatch) -> dict[str, Tensor]:
    """All tensors of a batch by the name of their field."""
    tensors: dict[str, Tensor] = {}
    for name, value in vars(batch).items():
        parts = {name: value} if not isinstance(value, Conditioning) else {f"{name}.{part}": t for part, t in vars(value).items()}
        tensors |= {key: part for key, part in parts.items() if isinstance(part, Tensor)}
    return tensors


def same(a: DiffusionBatch, b: DiffusionBatch, but: str = "") -> bool:
    """Whether two batches have the same fields with the same values, apart from one of them."""
    first, second = tensors_of(a), tensors_of(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first if name != but)


def rows_of(batch: Any, texts: Tensor) -> list[int]:
    """Which text each picture of a batch came with."""
    return [int((texts == text).flatten(1).all(1).nonzero()[0]) for text in batch.prompt.text]
