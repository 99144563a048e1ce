"""The target of erasing by guidance with its sign reversed, from the predictions that a batch carries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erase.diffusion.batches import DiffusionBatch


def turned(batch: DiffusionBatch, strength: float) -> DiffusionBatch:
    """The batch with the target e0(x_t) - eta (e0(x_t, c) - e0(x_t)), from the predictions that it carries."""
    from erase.diffusion.batches import diffusion_batch, required

    batch = diffusion_batch(batch)
    unconditional, concept = required(batch.empty_prediction, "empty"), required(batch.concept_prediction, "concept")
    return replace(batch, target=unconditional - strength * (concept - unconditional))
