"""The door to diffusers: find a model, wrap its family, make a Task of its latents. A file a family."""

from __future__ import annotations

from erase.diffusion.models import locate, open_model, pick_device
from erase.diffusion.stable import DTYPES, StableDiffusion
from erase.diffusion.tasks import Forgetting, added, denoising_target, diffusion_task, numbered, predict
from erase.diffusion.xl import StableDiffusionXL

__all__ = [
    "DTYPES", "Forgetting", "StableDiffusion", "StableDiffusionXL", "added", "denoising_target", "diffusion_task", "locate", "numbered",
    "open_model", "pick_device", "predict",
]  # fmt: skip
