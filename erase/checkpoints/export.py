"""Export a complete diffusers pipeline folder with new UNet weights: safetensors, the source's dtypes, provenance, model card.

Works on files, one tensor at a time, so that a model is never in memory twice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.checkpoints.folder import HALF, check_model_folder, components, read_provenance, single_file_origin, unet_hash, weight_files
from erase.checkpoints.model_card import write_card
from erase.checkpoints.safetensors_file import write_tensors_in_order
from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import write_json
from erase.run import disk_errors, package_version


def export(
    source: Path,
    unet_state: Mapping[str, Tensor],
    out: Path,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write `source` with `unet_state` in place of its UNet weights to `out`, whole or not at all.

    Names that `unet_state` lacks keep the source's values. The same input gives the same bytes. `overwrite` replaces an
    earlier export, never anything else.
    """
    check_model_folder(source)
    source, out = source.resolve(), out.resolve()
    if out == source or out in source.parents or source in out.parents:
        raise InputError(f"the export {out.name} and its source {source.name} contain one another; give another output folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (overwrite and read_provenance(out)):
        raise InputError(f"{out} exists and is {'not an earlier export' if overwrite else 'not empty'}; give another output folder")
    facts = {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in provenance.items()}
    facts |= {"erase-concept": package_version("erase-concept"), "source_sha256": unet_hash(source / "unet"), **single_file_origin(source)}
    part, old = (out.with_name(f".{out.name}.{os.getpid()}{mark}.part") for mark in ("", ".old"))
    try:
        with disk_errors(out):
            _copy_parts(source, part)
            _write_unet(source / "unet", part / "unet", unet_state, facts)
            write_card(part)
            if out.exists():
                out.rename(old)
            part.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return out


def _copy_parts(source: Path, part: Path) -> None:
    """Everything but the UNet's weights. Only what a pipeline loads: the root often has the old model again, as a single file."""
    part.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and re.match(r"(licen[cs]e|notice)", path.name, re.IGNORECASE):
            shutil.copyfile(path, part / path.name)
    _copy_json(source / "model_index.json", part / "model_index.json")
    for name in components(source):
        copy_part(source / name, part / name, shutil.copyfile if name != "unet" else None)


def copy_part(source: Path, target: Path, copy: Callable[[Path, Path], object] | None = None) -> None:
    """One part: its small files, and its weights by `copy` (source file, target file); without it no weights."""
    target.mkdir()
    for plain, path in weight_files(source).items():
        if copy is None:
            break
        if path.suffix == ".json":
            _copy_shard_index(path, target / plain)
        else:
            copy(path, target / plain)
    half = _reads_half(weight_files(target))
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in {".json", ".txt"} and ".index." not in path.name:
            _copy_json(path, target / path.name, half if path.name == "config.json" else False)


def _copy_shard_index(path: Path, target: Path) -> None:
    """Shards of a variant get the plain names, in the index too."""
    index = json.loads(path.read_text(encoding="utf-8"))
    plain = {file.name: name for name, file in weight_files(path.parent).items()}
    index["weight_map"] = {name: plain[file] for name, file in index["weight_map"].items()}
    write_json(target, index)


def _reads_half(weights: Mapping[str, Path]) -> bool:
    """Whether this is a part of transformers in half precision, in which a plain from_pretrained would leave it."""
    files = [path for name, path in weights.items() if name.startswith("model") and path.suffix == ".safetensors"]
    return any(entry["dtype"] in HALF for path in files for entry in header(path)[0].values() if "dtype" in entry)


def _copy_json(path: Path, target: Path, widen: bool = False) -> None:
    """Copy byte by byte, with two exceptions: a local path of the machine that saved it, and the dtype to load in.

    transformers loads a part in the dtype that its config (or its file) names, diffusers in float32: the text encoder and the UNet
    of a half-precision folder would not match. float32 in the config fixes the plain load; the weight file stays as it is.
    """
    content = json.loads(path.read_text(encoding="utf-8")) if path.name in {"config.json", "model_index.json"} else {}
    private = re.match(r"[/\\~.]|[A-Za-z]:\\", str(content.get("_name_or_path", ""))) is not None
    if not private and not widen:
        shutil.copyfile(path, target)
        return
    if private:
        del content["_name_or_path"]
    if widen:
        content.pop("torch_dtype", None)
        content["dtype"] = "float32"
    write_json(target, content)


def _write_unet(source: Path, target: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    files = weight_files(source)
    names = {name for plain, path in files.items() if path.suffix != ".json" for name in header(path)[0]}
    if unknown := sorted(set(state) - names):
        raise ValueError(f"the UNet of the source has no weights {', '.join(unknown[:3])} ({len(unknown)} in all)")
    for plain, path in files.items():
        if path.suffix == ".json":
            _copy_shard_index(path, target / plain)
        else:
            _rewrite(path, target / plain, state, facts)


def _rewrite(source: Path, target: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """The same file with other values, in the source's order and dtypes."""
    from safetensors import safe_open

    entries, _ = header(source)
    earlier = entries.pop("__metadata__", {})
    if "erase-concept" in earlier:  # erased before, of another concept: keep the whole history
        facts = {**facts, "earlier": json.dumps(earlier, sort_keys=True, ensure_ascii=False)}
    with safe_open(source, "pt") as tensors:
        write_tensors_in_order(target, entries, facts, lambda name: _merged(name, tensors.get_tensor(name), state.get(name)))


def _merged(name: str, original: Tensor, new: Tensor | None) -> Tensor:
    """New values in the source's dtype; entries that still equal the source's as rounded by the run stay as they were."""
    if new is None:
        return original
    new = new.detach().cpu()
    if new.shape != original.shape:
        raise ValueError(f"{name} is {tuple(new.shape)}; the source has {tuple(original.shape)}")
    value = torch.where(original.to(new.dtype) == new, original, new.to(original.dtype))
    if not torch.isfinite(value).all():
        raise ArithmeticError(f"{name} is not finite in {original.dtype}; nothing was exported")
    return value
