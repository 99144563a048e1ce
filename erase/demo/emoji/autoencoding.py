"""Training of the emoji model's autoencoder, and the latents of the training pictures."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from erase.demo.emoji import pictures, world

GUIDED = 600  # steps in which three latent channels are pulled towards the mean colour of their patch
BATCH = 16


def half_precision(device: str) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 for convolutions and products, where the device is built for it: a GPU, or a CPU with matrix tiles."""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" or (kind == "cpu" and tiles()))


def draw_batch(choices: list[tuple[str, str]], count: int, generator: torch.Generator, device: str) -> tuple[Tensor, list[world.Scene]]:
    """Random pictures (count, 3, 64, 64) of the pairs in `choices`, and their scenes."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    scenes = [world.sample_scene(rng, choices) for _ in range(count)]
    return pictures.draw(scenes, device).contiguous(memory_format=torch.channels_last), scenes


def reconstruction_loss(step: int, vae: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error with colour counted more than brightness, L1 on pixels and on their differences (crisp edges), a little KL."""
    with half_precision(x.device.type):
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    error = decoded.float() - x
    grey = error.mean(1, keepdim=True)
    squared = 2 * grey.pow(2).mean() + 8 * (error - grey).pow(2).mean()
    edges = torch.stack([torch.diff(error, dim=d).abs().mean() for d in (2, 3)]).sum()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    value: Tensor = squared + 0.5 * error.abs().mean() + 0.25 * edges + 1e-4 * kl
    if step < GUIDED:
        value = value + (1 - step / GUIDED) * (mean[:, :3] - 2 * F.avg_pool2d(x, 8)).pow(2).mean()
    return value
