"""Compare two checkpoints, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch

from erase.checkpoints.folder import edited_part, weight_files
from erase.checkpoints.parts import text_parts
from erase.checkpoints.safetensors_header import open_tensors


def changed_bytes(original: Path, model: Path) -> int:
    """Size in bytes of the tensors of the edited network and of the text encoders that differ from the original's in any bit."""
    return sum(_changed(original / part, model / part) for part in (edited_part(original).name, *text_parts(original)))


def _changed(original: Path, model: Path) -> int:
    """The same of one part."""
    tensors: dict[str, Path] = {}
    for path in weight_files(original).values():
        if path.suffix == ".safetensors":
            with open_tensors(path) as file:
                tensors |= dict.fromkeys(file.keys(), path)
    changed = 0
    for path in weight_files(model).values():
        if path.suffix != ".safetensors":
            continue
        with open_tensors(path) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                new = file.get_tensor(name)
                same = False
                if name in tensors:
                    with open_tensors(tensors[name]) as source:
                        old = source.get_tensor(name)
                    same = old.dtype == new.dtype and torch.equal(old, new)
                changed += 0 if same else new.numel() * new.element_size()
    return changed
