"""The tensors of a single file against the configurations that follow from them, before a folder is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erase.checkpoints.check.networks import shapes_of
from erase.checkpoints.check.tensors import plain_name, refuse_adapters
from erase.errors import InputError


def checked(parts: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]], label: str) -> dict[str, dict[str, Any]]:
    """The tensors of networks with these configurations; InputError where one is missing, because a loader would initialise it randomly.

    Everything else in a single file is left out: position ids, the text projection, a loss.
    """
    verified: dict[str, dict[str, Any]] = {}
    for part, tensors in parts.items():
        config = configs[part]
        expected = shapes_of(str(config.get("_class_name") or config["architectures"][0]), config)
        shapes = {plain_name(part, name): tensor.shape for name, tensor in tensors.items()}
        refuse_adapters(f"{label}: its {part}", tensors)
        for name, shape in expected.items():
            if shapes.get(name, shape) != shape:
                raise InputError(f"the checkpoint's {part} has {name} of {shapes[name]} where {shape} belongs; it is of no known family")
            if name not in shapes:
                raise InputError(f"the checkpoint is not complete: its {part} lacks {name}; fetch it again")
        if part in ("unet", "transformer") and (unknown := sorted(shapes.keys() - expected.keys())):
            raise InputError(f"the checkpoint's {part} has {unknown[0]}, which no known family has ({len(unknown)} such weights in all)")
        verified[part] = {name: tensor for name, tensor in tensors.items() if plain_name(part, name) in expected}
    return verified
