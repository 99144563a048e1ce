"""Finding a model and a device: the embedded model, a folder, a single file, or a name on the hub -> a pipeline folder and its wrapper.

No weights are loaded.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import torch

from erase.checkpoints.check.noise import noise_of
from erase.checkpoints.folder import FLOW, READ, check_model_folder, model_index
from erase.checkpoints.from_single_file import unpacked
from erase.demo import EMBEDDED
from erase.diffusion.flux import Flux
from erase.diffusion.stable_diffusion import DTYPES, StableDiffusion
from erase.diffusion.stable_diffusion_3 import StableDiffusion3
from erase.diffusion.stable_diffusion_xl import StableDiffusionXL
from erase.errors import InputError, first_line
from erase.files import user_path
from erase.options import check_device

WRAPPERS: dict[str, type[StableDiffusion]] = {kind.CLASS: kind for kind in (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux)}


def locate(model: str, tokenizer: str | None = None, prediction: str | None = None, weights: bool = True) -> Path:
    """The folder of a model: an embedded one by its name, a folder is itself, a single file is unpacked, the rest is on the hub.

    `tokenizer` (a folder; for a transformer of FLUX.1 or Stable Diffusion 3 one with all other parts) and `prediction` (epsilon or
    v_prediction) add what a single file does not contain. Without `weights`, a folder may hold
    configurations alone.
    """
    if model in EMBEDDED:
        from erase.demo import pipeline_path

        if prediction is not None:
            _check_prediction(pipeline_path(model), prediction)
        return pipeline_path(model)
    path = user_path(model)
    looks_local = path.exists() or path.suffix in (".ckpt", ".safetensors", ".bin", ".pt", ".pth") or model.startswith((".", "/", "~"))
    if not looks_local and model.count("/") == 1:
        path = _fetch(model)
    elif not looks_local:
        near = "".join(f', did you mean "{name}"?' for name in get_close_matches(model.lower(), EMBEDDED, 1))
        expected = f"expected {', '.join(EMBEDDED)}, a diffusers folder, or OWNER/NAME"
        raise InputError(f"--model {model!r} is neither a folder nor a hub name{near}; {expected}")
    if path.suffix.lower() == ".safetensors" and path.is_file():
        path, prediction = unpacked(path, tokenizer, prediction), None
    check_model_folder(path, weights)
    if prediction is not None:
        _check_prediction(path, prediction)
    return path


def open_model(folder: Path, device: str = "cpu", dtype: str = "float32", size: int | None = None) -> StableDiffusion:
    """The wrapper of a pipeline folder's family; images of `size` × `size` pixels, by default of the model's own size."""
    index = model_index(folder)
    _check_dtype(device, dtype)
    return WRAPPERS[index["_class_name"]](folder, device, dtype, size)


def _check_dtype(device: str, dtype: str) -> None:
    """InputError for a dtype in which this device cannot compute. It is tried out, because no table covers every device."""
    try:
        one = torch.ones(1, 1, 3, 3, dtype=DTYPES[dtype], device=device)
        torch.nn.functional.conv2d(one, one)
        one[0, 0] @ one[0, 0]
    except (RuntimeError, TypeError) as error:
        remedy = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
        message = f"device {device} does not support --dtype {dtype} ({first_line(error)}); give --dtype {remedy}"
        raise InputError(message, option="dtype") from None


def _check_prediction(folder: Path, prediction: str) -> None:
    """InputError where the option contradicts a folder, which names what its network predicts."""
    if model_index(folder)["_class_name"] in FLOW:
        message = f"--prediction-type {prediction} has no meaning for {folder}, which is trained by flow matching; leave the option out"
        raise InputError(message, option="prediction_type")
    own = noise_of(folder).prediction
    if own != prediction:
        message = f"--prediction-type {prediction} contradicts {folder}, whose scheduler says {own}; leave the option out"
        raise InputError(message, option="prediction_type")


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "LICEN[CS]E*", "*/*.safetensors", *(f"*/*{suffix}" for suffix in sorted(READ))]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds; each means that the model is not available
        raise InputError(
            f"--model {name!r} could not be fetched from the hub ({first_line(error)}); give a local diffusers folder"
        ) from error


def pick_device(device: str) -> str:
    """The device by name; `auto` is a GPU if there is one. InputError for a device that is not available."""
    check_device(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, index = torch.device(device).type, torch.device(device).index or 0
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False) or (kind == "cuda" and index >= torch.cuda.device_count()):
        raise InputError(
            f"--device {device} is not available to this installation of torch ({torch.__version__}); give --device cpu or auto"
        )
    return device
