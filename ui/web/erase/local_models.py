"""What can be known of a model without loading it: whether it lies on this machine, how large it is, which weights it has. No torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from functools import cache
from pathlib import Path

from erase.checkpoints.folder import components, edited_part, is_small, weight_files
from erase.checkpoints.safetensors_header import header
from erase.concepts import EMBEDDED
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import EmptyScope, InputError
from erase.methods import DiffusionMethod
from erase.scope import TEXT_KEYS, pattern_of


def folder_of(model: str) -> Path | None:
    """The pipeline folder of a model of this machine; None for a single file and for a name on the hub."""
    if model in EMBEDDED:
        return KNOWN_MODELS[model].pipeline
    path = Path(model)
    return path if (path / "model_index.json").is_file() else None


def small(model: str) -> bool:
    """Whether a model has the defaults of the embedded ones; a model that has not been read is taken for a large one."""
    folder = folder_of(model)
    try:
        return folder is not None and is_small(folder)
    except InputError:
        return False


def weight_bytes(model: str) -> int:
    """Bytes of the weight files of a model of this machine; 0 for one that is not here."""
    folder, path = folder_of(model), Path(model)
    if folder is None:
        return path.stat().st_size if path.is_file() else 0
    return sum(file.stat().st_size for part in components(folder) for file in weight_files(folder / part).values())


def check_scopes(model: str, method: DiffusionMethod) -> None:
    """InputError for a scope of the method that is none, or EmptyScope where the model, if it is here, has no weight in it."""
    scopes = {"scope": method.requirements.scope, "trim_scope": getattr(method, "trim_scope", None)}
    folder = folder_of(model)
    files = [file for file in weight_files(edited_part(folder)).values() if file.suffix == ".safetensors"] if folder else []
    try:
        names = [name for file in files for name in header(file)[0] if name != "__metadata__"]
    except (InputError, OSError, ValueError):  # the job checks the model and says what is wrong with it
        names = []
    two_streams = any(name.endswith(TEXT_KEYS) for name in names)
    patterns = {option: pattern_of(scope, option, two_streams) for option, scope in scopes.items() if scope is not None}
    for option, pattern in patterns.items():
        if names and not any(pattern.search(name) for name in names):
            message = f"scope {scopes[option]!r} matches no weight of {model}, whose first is {names[0]!r}; try cross-attention"
            raise EmptyScope(message, option=option)


# --- the hub and the device -------------------------------------------------------------------------------------------

HUB_BYTES = {"CompVis/stable-diffusion-v1-4": 5_500_000_000}  # what is fetched of it at least
UNKNOWN_BYTES = 4_000_000_000  # of another model of the hub: hardly one of Stable Diffusion is smaller


def download_bytes(model: str) -> int:
    """Bytes that are fetched from the hub before a job with this model starts; 0 for a model that is here."""
    if model in EMBEDDED or Path(model).exists() or cached(model):
        return 0
    return HUB_BYTES.get(model, UNKNOWN_BYTES)


def cached(name: str) -> bool:
    """Whether the cache of the hub's client holds the weights of a model."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return any((cache / f"models--{name.replace('/', '--')}").glob("snapshots/*/unet/*.safetensors"))


@cache
def device_of(chosen: str) -> str:
    """The kind of device that torch will use: cpu, cuda or mps. `auto` is settled without importing torch, which takes seconds."""
    if chosen != "auto":
        return chosen.split(":")[0]
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    text = version.read_text(encoding="utf-8") if version and version.is_file() else ""
    if re.search(r"^(cuda|hip)\b[^=]*= *'[^']+'", text, re.MULTILINE) and _gpu():
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def _gpu() -> bool:
    """Whether the driver of NVIDIA, or of AMD, finds a GPU."""
    return any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")) or bool(os.environ.get("CUDA_PATH"))
