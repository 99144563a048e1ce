"""A pipeline folder -> what others load: one file in the original layout, the UNet alone, or a folder, in a dtype of choice.

Weights are renamed and reshaped, not computed on, so that in the source's dtype every value stays. What a single file has
no place for is refused, not dropped. Trim masks and scores of weights are in none of these: knowing which weights were
touched helps to bring the concept back (arXiv 2603.06640).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from erase.checkpoints import DTYPES, FORMATS
from erase.checkpoints.configs import Config, configs, misfits
from erase.checkpoints.export import copy_part
from erase.checkpoints.families import FAMILIES, to_file, to_folder
from erase.checkpoints.folder import check_model_folder, components, read_provenance, weight_files
from erase.checkpoints.safetensors_file import Lazy, lazy_tensors, metadata, write_lazy
from erase.checkpoints.weight_names import clip_to_folder, strays
from erase.errors import InputError
from erase.run import disk_errors

_DTYPES: dict[str, torch.dtype | None] = {"source": None, "float16": torch.float16, "float32": torch.float32}
SOURCES = {
    "sd1": "https://github.com/CompVis/stable-diffusion",
    "sd2": "https://github.com/Stability-AI/stablediffusion",
    "sdxl": "https://github.com/Stability-AI/generative-models",
}
NO_PROOF = "No proof of absence: the concept may come back under other words, adversarial prompts or further training."


def pack(folder: Path, out: Path, form: str = "single-file", dtype: str = "source") -> Path:
    """Write a pipeline folder to `out` in one of FORMATS and DTYPES, whole or not at all; `out` must not be there.

    Every file carries in its metadata what the folder's UNet says of its making. InputError where the layout of a single
    file cannot hold the folder, and where a value exceeds the dtype.
    """
    check_model_folder(folder)
    if form not in FORMATS or dtype not in DTYPES:
        raise InputError(f"--format {form} --dtype {dtype} is unknown; expected one of {', '.join(FORMATS)} and of {', '.join(DTYPES)}")
    if form != "folder" and out.suffix.lower() != ".safetensors":
        raise InputError(f"--output {out} is a single file in this format; expected a name that ends in .safetensors")
    if out.exists():
        raise InputError(f"--output {out} is there already; give another name")
    writers: dict[str, Callable[[Path, Path, torch.dtype | None], None]]
    writers = {"folder": _folder, "single-file": _single_file, "unet": _unet_file}
    with disk_errors(out):
        writers[form](folder, out, _DTYPES[dtype])
    return out


def _single_file(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    family, scheduler = family_of(folder), _config(folder, "scheduler")
    parts = {name: _tensors(folder / name) for name in ("unet", "vae", *FAMILIES[family].text)}
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    size = 8 * int(_config(folder, "unet")["sample_size"])
    tensors: dict[str, Lazy] = to_file(parts, family)
    modern = to_folder(tensors, family)  # the folder that this file would become
    there = {name: _config(folder, name) for name in (*parts, "scheduler")}
    strange = misfits(there, configs(modern, family, prediction, size)) + _lost(parts, modern) + strays(tensors)
    if strange:
        what = f"{strange[0]}; {len(strange)} in all"
        raise InputError(f"{folder} does not fit into a single file of {FAMILIES[family].title} ({what}); give --format folder")
    flags = {"v_pred": prediction == "v_prediction" and family == "sdxl", "ztsnr": scheduler.get("rescale_betas_zero_snr", False)}
    tensors |= {name: Lazy(name, torch.float32, (0,), lambda: torch.zeros(0)) for name, there_is in flags.items() if there_is}
    facts = {**_facts(folder), **_specification(folder, family, prediction, size)}
    write_lazy(out, {name: tensor.cast(dtype) for name, tensor in tensors.items()}, facts)


def _unet_file(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    """Under diffusers' names: it takes the place of unet/diffusion_pytorch_model.safetensors."""
    write_lazy(out, {name: tensor.cast(dtype) for name, tensor in _tensors(folder / "unet").items()}, _facts(folder))


def _folder(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for path in folder.iterdir():
            if path.is_file() and re.match(r"(model_index\.json$|licen[cs]e|notice|readme\.md$)", path.name, re.IGNORECASE):
                shutil.copyfile(path, part / path.name)
        for name in components(folder):
            copy_part(folder / name, part / name, shutil.copyfile if dtype is None else _caster(dtype))
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _caster(dtype: torch.dtype) -> Callable[[Path, Path], None]:
    def cast(source: Path, target: Path) -> None:
        write_lazy(target, {name: tensor.cast(dtype) for name, tensor in lazy_tensors(source).items()}, metadata(source))

    return cast


def family_of(folder: Path) -> str:
    """Which of FAMILIES a pipeline folder is: by its class, and by the kind of its text encoder."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if index["_class_name"] == FAMILIES["sdxl"].pipeline:
        return "sdxl"
    return "sd2" if _config(folder, "text_encoder").get("hidden_act") == "gelu" else "sd1"


def _lost(parts: Mapping[str, Mapping[str, Lazy]], again: Mapping[str, Mapping[str, Lazy]]) -> list[str]:
    """Tensors of the folder that the single file's folder would not have."""
    found = []
    for name, tensors in parts.items():
        wanted = clip_to_folder(tensors) if name.startswith("text") else tensors
        if len(wanted) != len(again[name]):
            found.append(f"{name}: {len(wanted)} tensors, {len(again[name])} of which have a place")
    return found


def _tensors(component: Path) -> dict[str, Lazy]:
    files = [path for path in weight_files(component).values() if path.suffix == ".safetensors"]
    return {name: tensor for path in files for name, tensor in lazy_tensors(path).items()}


def _config(folder: Path, part: str) -> Config:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    try:
        return dict(json.loads((folder / part / name).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / part / name} cannot be read ({error}); the model folder is not complete") from None


def _facts(folder: Path) -> dict[str, str]:
    made = read_provenance(folder)
    return {**made, "not_a_proof": NO_PROOF} if made else {}


def _specification(folder: Path, family: str, prediction: str, size: int) -> dict[str, str]:
    """Stability AI's ModelSpec 1.0.0, which desktop programs show and read, and from which this tool reads size and prediction."""
    made = read_provenance(folder)
    concept, source = made.get("concept"), made.get("source", folder.name)
    said = {"modelspec.description": f"{source} with the concept {concept!r} erased from its UNet. {NO_PROOF}"} if concept else {}
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": FAMILIES[family].specification[prediction],
        "modelspec.implementation": SOURCES[family],
        "modelspec.title": f"{source} without {concept}" if concept else source,
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else "epsilon",
        **said,
    }
