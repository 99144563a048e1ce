"""Compare two checkpoints, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch

from erase.checkpoints.folder import edited_part, weight_files
from erase.checkpoints.safetensors_header import open_tensors


def changed_bytes(original: Path, model: Path) -> int:
    """Size in bytes of the edited network's tensors that differ from the original's in any bit."""
    tensors: dict[str, Path] = {}
    for path in weight_files(edited_part(original)).values():
        if path.suffix == ".safetensors":
            with open_tensors(path) as file:
                tensors |= dict.fromkeys(file.keys(), path)
    changed = 0
    for path in weight_files(edited_part(model)).values():
        if path.suffix != ".safetensors":
            continue
        with open_tensors(path) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                new = file.get_tensor(name)
                with open_tensors(tensors[name]) as source:
                    old = source.get_tensor(name)
                same = old.dtype == new.dtype and torch.equal(old, new)
                changed += 0 if same else new.numel() * new.element_size()
    return changed
