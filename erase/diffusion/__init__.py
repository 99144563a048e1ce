"""Diffusion models: find a model, wrap its family (one file per family), cache its latents, and make a Task of them."""

from __future__ import annotations

from erase.diffusion.batches import Conditioning, DiffusionBatch
from erase.diffusion.drawing import Forgetting
from erase.diffusion.flux import Flux
from erase.diffusion.models import locate, open_model, pick_device
from erase.diffusion.objectives import Denoising, FlowMatching, Objective
from erase.diffusion.prediction import denoising_target, predict
from erase.diffusion.stable_diffusion import DTYPES, StableDiffusion
from erase.diffusion.stable_diffusion_3 import StableDiffusion3
from erase.diffusion.stable_diffusion_xl import StableDiffusionXL
from erase.diffusion.task import TaskConfig, diffusion_task

__all__ = [
    "DTYPES",
    "Conditioning",
    "Denoising",
    "DiffusionBatch",
    "FlowMatching",
    "Flux",
    "Forgetting",
    "Objective",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "TaskConfig",
    "denoising_target",
    "diffusion_task",
    "locate",
    "open_model",
    "pick_device",
    "predict",
]  # fmt: skip
