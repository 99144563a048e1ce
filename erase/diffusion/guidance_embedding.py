"""UNets distilled with a guidance embedding (LCM and the like): they read the guidance scale beside the timestep.

Sampling passes it. Without it the UNet is another function than the one that was distilled, so every other forward pass gets it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def guidance_embedding(scale: float, count: int, width: int) -> Tensor:
    """Sinusoidal embedding (count, width) of a guidance scale, as the pipelines of diffusers compute it: of 1000 (scale - 1)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10_000.0) / (half - 1)))
    angles = 1000 * (scale - 1) * frequencies
    row = nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))
    return row.expand(count, -1)


def embed_guidance(unet: Any, scale: Callable[[], float]) -> None:
    """Add the embedding of `scale` to every forward pass that has none, if this UNet was distilled with one."""
    width: int | None = unet.config.time_cond_proj_dim
    if width is None:
        return

    def add(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if options.get("timestep_cond") is not None:
            return None
        sample = arguments[0] if arguments else options["sample"]
        return arguments, {**options, "timestep_cond": guidance_embedding(scale(), len(sample), width).to(sample)}

    unet.register_forward_pre_hook(add, with_kwargs=True)
