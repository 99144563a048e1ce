"""Copying what belongs to a pipeline folder: every file that a part's loader reads, and nothing private."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import HALF, READ, components, weight_files
from erase.checkpoints.safetensors_header import header
from erase.files import read_json, write_json

OPTIONAL_NETWORKS = ("safety_checker", "image_encoder")  # pipelines work without them
LARGE = ("vocab.json", "tokenizer.json", "added_tokens.json")  # words and their numbers, no settings
PATH_KEY = re.compile(r"(name_or_path|_path|_file|_dir|_folder)$")
LOCAL_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[\\/]|file:")


def complete_parts(folder: Path) -> list[str]:
    """The parts that a folder lists and has: without networks whose weights are missing, as safety checkers published as a pickle."""
    return [name for name in components(folder) if name not in OPTIONAL_NETWORKS or weight_files(folder / name)]


def copy_root(source: Path, target: Path, readme: bool = False) -> None:
    """model_index.json with the complete parts alone, and licences."""
    pattern = r"(licen[cs]e|notice|readme\.md$)" if readme else r"(licen[cs]e|notice)"
    for path in source.iterdir():
        if path.is_file() and re.match(pattern, path.name, re.IGNORECASE):
            shutil.copyfile(path, target / path.name)
    absent = {name: [None, None] for name in components(source) if name not in complete_parts(source)}
    _copy_json(source / "model_index.json", target / "model_index.json", absent)


def copy_part(source: Path, target: Path, copy: Callable[[Path, Path], object] | None = None) -> None:
    """One part: its small files, and its weights by `copy` (source file, target file); without it no weights."""
    target.mkdir()
    for plain, path in weight_files(source).items():
        if copy is None:
            break
        if path.suffix == ".json":
            copy_shard_index(path, target / plain)
        else:
            copy(path, target / plain)
    half = {"dtype": "float32"} if _reads_half(weight_files(target)) else {}
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in READ and ".index." not in path.name:
            if path.suffix == ".json" and path.name not in LARGE:
                _copy_json(path, target / path.name, half if path.name == "config.json" else {})
            else:
                shutil.copyfile(path, target / path.name)


def copy_shard_index(path: Path, target: Path) -> None:
    """Shards of a variant get the plain names, in the index too."""
    index = read_json(path)
    plain = {file.name: name for name, file in weight_files(path.parent).items()}
    index["weight_map"] = {name: plain[file] for name, file in index["weight_map"].items()}
    write_json(target, index)


def _reads_half(weights: Mapping[str, Path]) -> bool:
    """Whether this is a part of transformers in half precision, in which a plain from_pretrained would leave it."""
    files = [path for name, path in weights.items() if name.startswith("model") and path.suffix == ".safetensors"]
    return any(entry["dtype"] in HALF for path in files for entry in header(path)[0].values() if "dtype" in entry)


def _copy_json(path: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """Copy byte by byte, with two exceptions: local paths of the machine that saved it, and `changes`.

    One change is the dtype to load in. transformers loads a part in the dtype that its config (or its file) names, diffusers in
    float32: the text encoder and the UNet of a half-precision folder would not match. float32 in the config fixes the plain load; the
    weight file stays as it is.
    """
    content = read_json(path)
    public = _public(content)
    if public == content and not changes:
        shutil.copyfile(path, target)
        return
    if "dtype" in changes:
        public.pop("torch_dtype", None)
    write_json(target, {**public, **changes})


def _public(value: Any) -> Any:
    """A value without the local paths in it."""
    if isinstance(value, list):
        return [_public(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _public(item) for key, item in value.items() if not _private(key, item)}


def _private(key: str, value: Any) -> bool:
    return isinstance(value, str) and PATH_KEY.search(key) is not None and LOCAL_PATH.match(value) is not None
