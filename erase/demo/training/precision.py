"""The precision in which the embedded models are trained."""

from __future__ import annotations

import torch


def half_precision(device: str) -> torch.autocast:
    """bfloat16 for convolutions and products, where the device is built for it: a GPU, or a CPU with matrix tiles."""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" or (kind == "cpu" and tiles()))
