"""Compare two checkpoints, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from erase.checkpoints.folder import weight_files


def changed_bytes(original: Path, model: Path) -> int:
    """Size in bytes of the UNet's tensors that differ from the original's in any bit."""
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
                new = file.get_tensor(name)
                with safe_open(tensors[name], "pt") as source:
                    old = source.get_tensor(name)
                same = old.dtype == new.dtype and torch.equal(old, new)
                changed += 0 if same else new.numel() * new.element_size()
    return changed
