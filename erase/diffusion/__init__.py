"""The door to diffusers: find a model, wrap its family, make a Task of its latents. A file a family."""

from __future__ import annotations

from erase.diffusion.models import locate, open_model, pick_device
from erase.diffusion.stable_diffusion import DTYPES, StableDiffusion
from erase.diffusion.stable_diffusion_xl import StableDiffusionXL
from erase.diffusion.task import Forgetting, added, denoising_target, diffusion_task, numbered, predict

__all__ = [
    "DTYPES", "Forgetting", "StableDiffusion", "StableDiffusionXL", "added", "denoising_target", "diffusion_task", "locate", "numbered",
    "open_model", "pick_device", "predict",
]  # fmt: skip
