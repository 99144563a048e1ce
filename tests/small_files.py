"""Tiny models of every family and the same with other weights, as a run leaves them, for tests of files beside a model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import build_family, build_flux, build_stable_diffusion_3
from torch import Tensor

from erase.checkpoints.folder import edited_part

FAMILIES = ("sd1", "sd2", "sdxl", "sd3", "flux")
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT = {"sd3": r"attn\.add_|context_embedder", "flux": r"attn\.add_|context_embedder"}
EVERYTHING = r"."


def build_any(family: str, folder: Path) -> Path:
    if family == "sd3":
        return build_stable_diffusion_3(folder)
    return build_flux(folder) if family == "flux" else build_family(family, folder)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(edited_part(folder) / WEIGHTS)


def changed_copy(source: Path, target: Path, pattern: str, rank: int | None = None) -> Path:
    """A copy whose weights of these names are changed, matrices by a product of this rank where one is given."""
    shutil.copytree(source, target)
    tensors, generator = weights_of(target), torch.Generator().manual_seed(1)
    for name, tensor in tensors.items():
        if not re.search(pattern, name) or name.startswith("pos_embed.pos"):
            continue
        rows, columns = tensor.shape[0], tensor[0].numel()
        inner = rank if rank is not None and tensor.ndim > 1 else max(columns, 1)
        left, right = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
        tensors[name] = tensor + 0.02 * (left @ right).reshape(tensor.shape)
    save_file(tensors, edited_part(target) / WEIGHTS, {"format": "pt"})
    return target
