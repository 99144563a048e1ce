"""Write the transformer of a pipeline folder as a single file in the original layout: FLUX.1's alone, as it is published; Stable Diffusion
3.x with its autoencoder and text encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.check.networks import part_config
from erase.checkpoints.folder import components, weight_files
from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors
from erase.checkpoints.transformer.names import transformer_to_file, transformer_to_folder
from erase.checkpoints.transformer.recognise import KINDS, PREFIX, VAE_PREFIXES, config_from
from erase.checkpoints.weight_names import clip_to_folder, vae_to_file
from erase.errors import InputError

IMPLEMENTATION = {"flux": "https://github.com/black-forest-labs/flux", "sd3": "https://github.com/Stability-AI/sd3-ref"}


def transformer_file(folder: Path, family: str) -> dict[str, LazyTensor]:
    """The tensors of the single file. InputError where the layout has no place for a weight, or programs would build another network."""
    transformer = part_tensors(folder, "transformer")
    try:
        tensors = transformer_to_file(transformer, family)
        back = transformer_to_folder(tensors, family)
    except KeyError as error:
        raise _does_not_fit(folder, family, f"its layout needs {error.args[0]}") from None
    unnamed = sorted((transformer.keys() & tensors.keys()) - {"context_embedder.weight", "context_embedder.bias"})
    if unnamed or back.keys() != transformer.keys():
        odd = unnamed or sorted(back.keys() ^ transformer.keys())
        raise _does_not_fit(folder, family, f"transformer: {odd[0]}, for which it has no place")
    _check_config(folder, family, config_from(tensors, family, str(folder)))
    if family == "flux":
        return tensors
    whole = {PREFIX + name: tensor for name, tensor in tensors.items()}
    whole |= {VAE_PREFIXES[0] + name: tensor for name, tensor in vae_to_file(part_tensors(folder, "vae")).items()}
    for part, prefix in KINDS[family].text.items():
        if part in components(folder):
            own = part_tensors(folder, part)
            whole |= {prefix + name: tensor for name, tensor in (own if part == "text_encoder_3" else clip_to_folder(own)).items()}
    return whole


def part_tensors(folder: Path, part: str) -> dict[str, LazyTensor]:
    """A part's tensors, not read yet."""
    files = [path for path in weight_files(folder / part).values() if path.suffix == ".safetensors"]
    return {name: tensor for path in files for name, tensor in lazy_tensors(path).items()}


def _check_config(folder: Path, family: str, implied: Mapping[str, Any]) -> None:
    own = part_config(folder, "transformer")
    for name, value in implied.items():
        actual = list(own[name]) if isinstance(own[name], tuple) else own[name]
        if actual != value and (actual or value):
            raise _does_not_fit(folder, family, f"transformer: {name} {actual}, not {value}")


def _does_not_fit(folder: Path, family: str, problem: str) -> InputError:
    message = f"{folder} does not fit into a single file of {KINDS[family].title} ({problem}); give --format folder"
    return InputError(message, option="format")


def architecture(folder: Path, family: str) -> str:
    """ModelSpec's name of the family."""
    own = part_config(folder, "transformer")
    if family == "flux":
        return f"flux-1-{'dev' if own['guidance_embeds'] else 'schnell'}"
    if own["qk_norm"] is None:
        return "stable-diffusion-3-medium"
    return f"stable-diffusion-3.5-{'medium' if own['dual_attention_layers'] else 'large'}"
