"""The check of a pipeline folder, part by part: its classes, its files, its noise process, its tensors and its tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from erase.checkpoints.check.classes import check_classes, check_no_code, family_of_index
from erase.checkpoints.check.flow import check_flow_fit, flow_of
from erase.checkpoints.check.networks import NETWORKS, check_fit
from erase.checkpoints.check.noise import noise_of
from erase.checkpoints.check.tensors import check_tensors
from erase.checkpoints.check.tokenizers import check_tokenizer
from erase.checkpoints.folder import FLOW, PICKLES, READ, SAFER, SUPPORTED, components, is_bare, model_index, weight_files
from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import read_json, read_object

OBJECTS = (  # what loaders read of a part beside its weights, and expect an object in
    "config.json", "scheduler_config.json", "tokenizer_config.json", "vocab.json", "tokenizer.json", "special_tokens_map.json",
    "added_tokens.json", "preprocessor_config.json", "generation_config.json",
)  # fmt: skip


def check_folder(folder: Path, weights: bool = True) -> None:
    """InputError, in one line that names the part, for a folder that a job could not use to its end. No weights are read.

    Where no `weights` are needed, a folder that has none is looked at as far as its configurations go.
    """
    index = model_index(folder)
    family = family_of_index(folder, index)
    check_classes(folder, index)
    if absent := [part for part in SUPPORTED[family] if part not in components(folder)]:
        raise InputError(f"{folder} is a {family} without {' and '.join(absent)}; give a model with all of its parts")
    bare = not weights and is_bare(folder)
    for name in components(folder) if not bare else []:
        _check_files(folder, name)
        check_no_code(folder, name)
    own = components(folder) if family in FLOW else SUPPORTED[family]
    flow_of(folder) if family in FLOW else noise_of(folder)
    for part in NETWORKS:
        if part in own and not bare:
            check_tensors(folder, part)
    check_flow_fit(folder, family) if family in FLOW else check_fit(folder, xl="text_encoder_2" in own)
    for part in own if not bare else []:
        if part.startswith("tokenizer"):
            check_tokenizer(folder, part)


def _check_files(folder: Path, name: str) -> None:
    """InputError where a part is missing, torn, a link to nothing, or a pickle."""
    component = folder / name
    if Path(name).name != name or not component.is_dir():
        raise InputError(f"{folder} lacks its part {name}, which model_index.json lists; download the model again")
    files = weight_files(component)
    settings = [path for path in component.iterdir() if path.suffix in READ and ".index." not in path.name]
    if gone := sorted(path.name for path in (*files.values(), *settings) if path.is_symlink() and not path.exists()):
        raise InputError(f"{folder} is incomplete: {name}/{gone[0]} is a link to a file that is gone; download the model again")
    for path in (path for path in settings if path.suffix == ".json"):
        read_object(path) if path.name in OBJECTS else read_json(path)  # whatever a loader looks for in it, it is within bounds
    if files:
        _check_whole(files)
        return
    if pickles := sorted(path.name for path in component.iterdir() if path.suffix.lower() in PICKLES):
        remedy = f'convert it on a machine where that is safe: python -c "{SAFER.format(load="from_pretrained", path=str(folder))}"'
        problem = f"has the weights of {name} only as a pickle ({pickles[0]}), which can run any code"
        raise InputError(f"{folder} {problem}; expected .safetensors: {remedy}")
    if name in NETWORKS:
        raise InputError(f"{folder} has no weights for {name}; expected {name}/*.safetensors: download the model again")


def _check_whole(files: Mapping[str, Path]) -> None:
    """InputError for a file that is incomplete or missing after a broken download: before hours of work, not after."""
    for plain, path in files.items():
        if path.suffix == ".safetensors":
            header(path)
            continue
        shards = read_object(path).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) and Path(name).name == name for name in shards.values()):
            raise InputError(f"{path} is not an index of shards (weight_map must name files beside it); download the model again")
        listed = set(shards.values())
        if absent := sorted(name for name in listed if not (path.parent / name).is_file()):
            raise InputError(f"{path.parent} lacks {absent[0]}, which {plain} lists; download the model again")
