"""What layers are called in files beside a model, by family and tool.

kohya's names are `lora_unet_` and the path of the layer with underscores: that of diffusers for Stable Diffusion 1.x and 2.x, that of the
original layout for XL, 3.x and FLUX.1, where query, key and value are one layer. Difference files have the same names with `.diff` and,
for biases, `.diff_b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from erase.checkpoints.folder import config_of, edited_part, model_index
from erase.checkpoints.transformer.names import LAYERS, Layer
from erase.checkpoints.weight_names import unet_file_names
from erase.errors import InputError

KOHYA = "lora_unet_"
DOTTED = "diffusion_model."  # how ComfyUI names a tensor that is not called weight or bias
TITLES = {
    "sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "Stable Diffusion XL", "sd3": "Stable Diffusion 3.x",
    "flux": "FLUX.1",
}  # fmt: skip
FAMILY_OF = {"StableDiffusionXLPipeline": "sdxl", "StableDiffusion3Pipeline": "sd3", "FluxPipeline": "flux"}


def family_of(folder: Path) -> str:
    """The family of a pipeline folder, a key of TITLES: by its class, and by its text encoder."""
    kind = str(model_index(folder)["_class_name"])
    if kind in FAMILY_OF:
        return FAMILY_OF[kind]
    return "sd2" if config_of(folder, "text_encoder", "config.json").get("hidden_act") == "gelu" else "sd1"


def layers_of(family: str, weights: Iterable[str]) -> list[Layer]:
    """The layers of a network with these weights (names of diffusers), as a file for this family names them."""
    weights = list(weights)
    if family in LAYERS:
        return LAYERS[family](weights)
    modules = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    if family != "sdxl":
        return [Layer(module, (module,)) for module in modules]
    renamed = unet_file_names(weights)
    originals = {name.rpartition(".")[0]: original.rpartition(".")[0] for name, original in renamed.items()}
    return [Layer(originals[module], (module,)) for module in modules]


def kohya_name(layer: Layer) -> str:
    """`lora_unet_` and the layer's path."""
    return KOHYA + layer.original.replace(".", "_")


def difference_name(layer: Layer, kind: str) -> str:
    """The key of a layer's difference; `kind` is weight or bias."""
    if kind == "bias":
        return f"{kohya_name(layer)}.diff_b"
    return f"{kohya_name(layer)}.diff" if layer.gain == "weight" else f"{DOTTED}{layer.original}.{layer.gain}.diff"


def diffusers_prefix(folder: Path) -> str:
    """What diffusers puts before the names of the edited part: `unet.` or `transformer.`."""
    return f"{edited_part(folder).name}."


def check_known(layers: Sequence[Layer], weights: Iterable[str], folder: Path) -> None:
    """InputError for a weight that no layer has a name for."""
    known = {part for layer in layers for part in layer.parts}
    if strange := sorted(name for name in weights if name.rpartition(".")[0] not in known):
        raise InputError(f"{folder} has {strange[0]}, for which such a file has no name; give --format folder", option="format")
