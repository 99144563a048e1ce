"""A LoRA or a difference file on top of a model: loaded by diffusers, as a user loads it, at a strength.

A difference, which diffusers does not read, is added to the weights. What diffusers would pass over in silence is refused: after loading,
every layer of the file must have its adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.checkpoints.lora.read import SmallFile, read_small
from erase.checkpoints.transformer.names import Layer
from erase.diffusion.stable_diffusion import StableDiffusion
from erase.errors import InputError, first_line

ADAPTER = "erase"
FLUX_WIDTH = 3072  # at which diffusers cuts kohya's layers of FLUX.1, whatever the model


def with_small_file(model: StableDiffusion, path: Path, strength: float = 1.0) -> StableDiffusion:
    """The model with a LoRA or a difference file, read and checked at once, added at `strength` when it is loaded."""
    file = read_small(path, model.folder)
    if not file.is_difference and find_spec("peft") is None:
        raise InputError(f"{path} is a LoRA, which diffusers loads with the package peft; pip install peft", option="lora")
    model.additions.append(lambda pipeline: _add(pipeline, getattr(pipeline, model.EDITED), file, strength))
    return model


def _add(pipeline: Any, network: Any, file: SmallFile, strength: float) -> None:
    if file.is_difference:
        _add_difference(network, file, strength)
        return
    try:
        if is_native(file):
            pipeline.load_lora_weights(str(file.path.parent), weight_name=file.path.name, adapter_name=ADAPTER)
        else:
            pipeline.load_lora_weights(renamed(file, pipeline), adapter_name=ADAPTER)
        pipeline.set_adapters([ADAPTER], [strength])
    except Exception as error:  # whatever diffusers and peft make of a file
        if isinstance(error, MemoryError):
            raise
        raise InputError(f"{file.path} does not load into the model with diffusers ({first_line(error)})", option="lora") from error
    expected = {part for entry in file.entries.values() for part in entry.layer.parts}
    loaded = {name for name, module in network.named_modules() if ADAPTER in getattr(module, "lora_A", {})}
    if lacking := sorted(expected - loaded):
        problem = f"diffusers loads {len(loaded & expected)} of its {len(expected)} layers, not {lacking[0]}"
        raise InputError(f"{file.path} does not load whole: {problem}; export it with --format diffusers-lora", option="lora")


def is_native(file: SmallFile) -> bool:
    """Whether diffusers itself reads the names of this file.

    Of kohya's it passes over those of Stable Diffusion 3 and those of FLUX.1 outside of the blocks, whose blocks it cuts at one width.
    """
    kohya = any(name.startswith(("lora_unet_", "diffusion_model.")) for name in file.entries)
    if not kohya or file.family not in ("sd3", "flux"):
        return True
    return file.family == "flux" and all("_blocks." in e.layer.original and _fits(e.layer, e.heights) for e in file.entries.values())


def _fits(layer: Layer, heights: Sequence[int]) -> bool:
    return len(layer.parts) < 4 or heights[0] == FLUX_WIDTH


def renamed(file: SmallFile, pipeline: Any) -> dict[str, Tensor]:
    """The same LoRA under diffusers' names, alpha / rank in the upper factor."""
    if file.text:
        problem = f"{file.path} also changes text encoders ({file.text[0]}), which is not read for this family"
        raise InputError(f"{problem}; give a LoRA of the transformer alone", option="lora")
    prefix = "transformer." if hasattr(pipeline, "transformer") else "unet."
    pairs = file.pairs()
    return {f"{prefix}{layer}.lora_{side}.weight": tensor for layer, pair in pairs.items() for side, tensor in zip("BA", pair, strict=True)}


@torch.no_grad()
def _add_difference(network: Any, file: SmallFile, strength: float) -> None:
    """In float32, then rounded to the dtype of the weights."""
    weights = dict(network.named_parameters())
    for name, difference in file.differences().items():
        weight, change = weights[name], difference.load().float().to(weights[name].device)
        weight.copy_((weight.float() + strength * change.reshape(weight.shape)).to(weight.dtype))
