"""Unpack a single-file transformer of FLUX.1 or Stable Diffusion 3.x into a pipeline folder, with the parts that the file lacks.

Such a file has no tokenizers and mostly neither text encoders nor autoencoder. These come from a diffusers folder that the user names,
whose transformer is not read. Nothing is guessed: a folder of the other variant (dev, schnell) is refused, since its noise levels differ.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.check.classes import check_classes, check_no_code
from erase.checkpoints.check.networks import expected_shapes, part_config
from erase.checkpoints.check.single_file import checked
from erase.checkpoints.check.tensors import plain_name
from erase.checkpoints.check.values import digest_and_faults, refuse_faults
from erase.checkpoints.copying import copy_part
from erase.checkpoints.folder import SUPPORTED, components, model_index
from erase.checkpoints.safetensors_file import LazyTensor, write_lazy
from erase.checkpoints.transformer.names import transformer_to_folder
from erase.checkpoints.transformer.recognise import (
    KINDS,
    VAE_PREFIXES,
    config_from,
    not_complete,
    transformer_family,
    transformer_of,
    variant,
)
from erase.checkpoints.unpacked_folders import KIND, folder_name, only_folder, origin_of
from erase.checkpoints.weight_names import Tensors, clip_to_folder, under, vae_to_folder
from erase.errors import InputError
from erase.files import read_object, sha256, user_path, write_json
from erase.files.cache import cached, making

OPTION = "--parts FOLDER"
EXAMPLES = {
    "FLUX.1-dev": "black-forest-labs/FLUX.1-dev", "FLUX.1-schnell": "black-forest-labs/FLUX.1-schnell",
    "Stable Diffusion 3": "stabilityai/stable-diffusion-3-medium-diffusers",
    "Stable Diffusion 3.5": "stabilityai/stable-diffusion-3.5-medium",
}  # fmt: skip
IGNORED = ("transformer/*.safetensors", "*.safetensors")  # of such a folder on the hub
BUFFERS = ("pos_embed", "model.diffusion_model.pos_embed")  # not learned
PLAIN = {"vae": "diffusion_pytorch_model.safetensors"}  # weight file of a part; of text encoders model.safetensors


def unpacked_transformer(path: Path, tensors: Tensors, facts: Mapping[str, str], parts: str | None, prediction: str | None) -> Path:
    """The folder of a file whose tensors are a transformer's, written once; see `from_single_file.unpacked`."""
    family, transformer, derived = read_transformer(tensors, str(path))
    name = variant(transformer_of(tensors, family, str(path)), family)
    if prediction is not None:
        message = f"--prediction-type {prediction} has no meaning for {path}, a transformer of {name}; leave the option out"
        raise InputError(message, option="prediction_type")
    recorded = facts.get("modelspec.architecture", "").lower()
    if recorded.startswith("flux-1-dev") and not derived.get("guidance_embeds", True):
        raise InputError(f"{path} says that it is FLUX.1-dev, and lacks guidance_in, which dev has and schnell has not; download it again")
    digest, faults = digest_and_faults(path)
    stem = folder_name(path, digest)
    if parts is None and (folder := only_folder(stem)) is not None:
        return folder
    others = parts_folder(parts, tensors, family, str(path))
    config = whole_config(derived, others, family, str(path), name)
    refuse_faults(str(path), {tensor: fault for tensor, fault in faults.items() if tensor not in BUFFERS})
    full = f"{stem}-{digest_of(others)[:8]}"
    if (folder := cached(KIND, full)) is not None:
        return folder
    with making(KIND, full) as (part, folder):
        write_folder(part, others, family, (transformer, config), tensors, origin_of(path, digest), str(path))
    return folder


def read_transformer(tensors: Tensors, label: str) -> tuple[str, dict[str, LazyTensor], dict[str, Any]]:
    """Family, the tensors under names of diffusers, and what their shapes say of the configuration."""
    family = str(transformer_family(tensors))
    own = transformer_of(tensors, family, label)
    config = config_from(own, family, label)
    try:
        return family, transformer_to_folder(own, family), config
    except (KeyError, ValueError) as error:
        raise not_complete(label, family, error.args[0]) from None


def parts_folder(path: str | None, tensors: Tensors, family: str, label: str) -> Path:
    """The folder with the other parts; InputError that says which are missing and how to name them."""
    own = transformer_of(tensors, family, label)
    kind, name = KINDS[family], variant(own, family)
    if path is None:
        lacking = [*(part for part, prefix in kind.text.items() if not under(tensors, prefix)), *(["vae"] if not _vae(tensors) else [])]
        absent = f"lacks {', '.join(lacking)} and the tokenizers" if lacking else "has no tokenizers"
        raise InputError(
            f"{label} is a transformer of {name} and {absent}; give {OPTION}, a diffusers folder or hub name of {name} that has them, "
            f"as {EXAMPLES[name]} (its transformer is not read)",
            option="parts",
        )
    folder = user_path(path)
    if not folder.is_dir() and path.count("/") == 1 and not path.startswith((".", "/", "~")):
        folder = _fetched(path)
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{OPTION}: {path} has no model_index.json; give a diffusers folder of {name}", option="parts")
    if (actual := model_index(folder).get("_class_name")) != kind.pipeline:
        raise InputError(f"{OPTION}: {path} is a {actual}, and {label} is of {name}; give a folder of {name}", option="parts")
    needed = [part for part in SUPPORTED[kind.pipeline] if part != "transformer"]
    if absent_parts := [part for part in needed if part not in components(folder) or not (folder / part).is_dir()]:
        raise InputError(f"{OPTION}: {path} lacks {' and '.join(absent_parts)}; give a folder that has all parts", option="parts")
    check_classes(folder, model_index(folder))
    for part in components(folder):
        if part != "transformer":
            check_no_code(folder, part)
    return folder


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=list(IGNORED)))
    except Exception as error:  # the hub's client raises a dozen kinds
        message = f"{OPTION}: {name} could not be fetched from the hub ({type(error).__name__}); give a local diffusers folder"
        raise InputError(message, option="parts") from error


def whole_config(derived: Mapping[str, Any], parts: Path, family: str, label: str, name: str) -> dict[str, Any]:
    """The transformer's configuration: that of the folder, where it has one and the file agrees with it, else what the shapes say."""
    kind = KINDS[family]
    config: dict[str, Any] = {"_class_name": kind.network, "_diffusers_version": "0.30.0", **derived}
    if "transformer" not in components(parts) or not (parts / "transformer" / "config.json").is_file():
        if family == "flux" and "axes_dims_rope" not in derived:
            raise InputError(f"{label} has attention heads of an unusual width; give {OPTION} with transformer/config.json", option="parts")
        return config
    own = part_config(parts, "transformer")
    for key, value in derived.items():
        theirs = list(own[key]) if isinstance(own[key], tuple) else own[key]
        if key == "guidance_embeds" and theirs != value:
            other = "FLUX.1-dev" if theirs else "FLUX.1-schnell"
            sign = "has no guidance_in" if theirs else "has guidance_in"
            raise InputError(f"{label} is {name} ({sign}), and {OPTION} is of {other}; give a folder of {name}", option="parts")
        if theirs != value and not (key in ("dual_attention_layers",) and not theirs and not value):
            raise InputError(f"{label} has {key} {value}, and {OPTION} {theirs}; give a folder of the same model", option="parts")
    return {**config, **own}


def digest_of(parts: Path) -> str:
    """A hash of what a folder's parts are: their files, without the transformer's weights."""
    digest = hashlib.sha256()
    for path in sorted(parts.rglob("*")):
        name = path.relative_to(parts).as_posix()
        if path.is_file() and not (name.startswith("transformer/") and name != "transformer/config.json") and "/" in name:
            digest.update(f"{name} {sha256(path)}\n".encode())
    return digest.hexdigest()[:16]


def write_folder(
    folder: Path, parts: Path, family: str, network: tuple[Mapping[str, LazyTensor], dict[str, Any]], tensors: Tensors,
    origin: Mapping[str, str], label: str,
) -> None:  # fmt: skip
    """The pipeline folder: the file's transformer, whatever else the file has, and all else from `parts`."""
    transformer, config = network
    verified = checked({"transformer": transformer}, {"transformer": config}, label)["transformer"]
    write_json(folder / "transformer" / "config.json", config)
    write_lazy(folder / "transformer" / "diffusion_pytorch_model.safetensors", verified, origin)
    brought = _brought(tensors, family, label)
    for part in components(parts):
        if part == "transformer":
            continue
        copy_part(parts / part, folder / part, None if part in brought else _linked)
        if part in brought:
            expected = expected_shapes(parts, part)
            if expected is not None:
                shapes = {plain_name(part, name): tensor.shape for name, tensor in brought[part].items()}
                if odd := [name for name in expected if shapes.get(name) != expected[name]]:
                    problem = f"its {part} has {odd[0]} of {shapes.get(odd[0])}, and {OPTION} calls for {expected[odd[0]]}"
                    raise InputError(f"{label}: {problem}; give a folder of the same model", option="parts")
            write_lazy(folder / part / PLAIN.get(part, "model.safetensors"), brought[part], {})
    index = {k: v for k, v in read_object(parts / "model_index.json").items() if k not in ("feature_extractor", "image_encoder")}
    write_json(folder / "model_index.json", {**index, "transformer": ["diffusers", KINDS[family].network]})


def _brought(tensors: Tensors, family: str, label: str) -> dict[str, dict[str, LazyTensor]]:
    """The text encoders and the autoencoder that a file has, under names of diffusers and transformers."""
    brought = {}
    for part, prefix in KINDS[family].text.items():
        own = under(tensors, prefix)
        if own:
            brought[part] = dict(own) if "t5xxl" in prefix else clip_to_folder(own)
    if vae := _vae(tensors):
        brought["vae"] = vae_to_folder(vae)
    for part, own in brought.items():
        if any(tensor.dtype.itemsize < 2 for tensor in own.values()):
            raise InputError(f"{label}: its {part} has 8-bit weights; give a file without it, so that {OPTION} provides it", option="parts")
    return brought


def _vae(tensors: Tensors) -> dict[str, LazyTensor]:
    return next((own for prefix in VAE_PREFIXES if (own := under(tensors, prefix))), {})


def _linked(source: Path, target: Path) -> None:
    """A weight file that both folders share, where the file system can; else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
