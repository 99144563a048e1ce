"""Images to latents and back, by the autoencoder of a pipeline.

Latents are (z - shift) scaling, where a family's autoencoder has a shift. Once it has overflowed in half precision it runs in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from erase.task import generator


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents (n, c, h, w) -> images (n, 3, s, s) in [-1, 1], float32."""
    latents = latents / vae.config.scaling_factor
    if shift := vae.config.shift_factor:
        latents = latents + shift
    return finite(vae, lambda: vae.decode(latents.to(vae.dtype), return_dict=False)[0]).float()


def encoded(vae: Any, pixels: Tensor, device: str, first: int) -> Tensor:
    """Images (n, 3, s, s) in [-1, 1] -> latents, float32 on the CPU; drawn from the posterior, seeded by the image's number."""

    def moments() -> Tensor:
        posterior = vae.encode(pixels.to(device, vae.dtype)).latent_dist
        return torch.stack([posterior.mean.float().cpu(), posterior.std.float().cpu()])

    mean, spread = finite(vae, moments)
    noise = torch.stack([torch.randn(mean.shape[1:], generator=generator("latent", first + i)) for i in range(len(pixels))])
    latents: Tensor = mean + spread * noise
    if shift := vae.config.shift_factor:
        latents = latents - shift
    return latents * float(vae.config.scaling_factor)


def finite(vae: Any, work: Callable[[], Tensor]) -> Tensor:
    """The autoencoder's output; from the first output that is not finite in half precision on, it runs in float32."""
    output = work()
    if not output.isfinite().all() and vae.dtype != torch.float32:
        warnings.warn(f"the autoencoder overflows in {vae.dtype}: it runs in float32 from now on", stacklevel=2)
        vae.to(torch.float32)
        output = work()
    return output
