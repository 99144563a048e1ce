"""What an erased model has changed, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from erase.checkpoints.folder import weight_files


def changed_bytes(original: Path, model: Path) -> int:
    """Size of the UNet's tensors that are not bit by bit the original's."""
    tensors: dict[str, Path] = {}
    for path in weight_files(original / "unet").values():
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                tensors |= dict.fromkeys(file.keys(), path)
    changed = 0
    for path in weight_files(model / "unet").values():
        if path.suffix != ".safetensors":
            continue
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                now = file.get_tensor(name)
                with safe_open(tensors[name], "pt") as source:
                    was = source.get_tensor(name)
                changed += 0 if was.dtype == now.dtype and torch.equal(was, now) else now.numel() * now.element_size()
    return changed
