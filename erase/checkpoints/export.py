"""Export a complete diffusers pipeline folder with new weights: safetensors, the source's dtypes, provenance, model card.

Works on files, one tensor at a time, so that a model is never in memory twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.checkpoints.copying import complete_parts, copy_part, copy_root, copy_shard_index
from erase.checkpoints.folder import check_model_folder, edited_part, network_hash, read_provenance, single_file_origin, weight_files
from erase.checkpoints.model_card import write_card
from erase.checkpoints.parts import by_part
from erase.checkpoints.safetensors_file import write_tensors_in_order
from erase.checkpoints.safetensors_header import header, open_tensors
from erase.errors import InputError
from erase.files import real_path, sync, temporary
from erase.files.disk import disk_errors
from erase.run import package_version


def export(
    source: Path,
    state: Mapping[str, Tensor],
    out: Path,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write `source` with `state` in place of the weights of its UNet, transformer or text encoders to `out`, whole or not at all.

    Names that `state` lacks keep the source's values. The same input gives the same bytes. `overwrite` replaces an
    earlier export, never anything else.
    """
    check_model_folder(source)
    source, out = real_path(source), real_path(out)
    if out == source or out in source.parents or source in out.parents:
        raise InputError(f"the export {out.name} and its source {source.name} contain one another; give another output folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (overwrite and read_provenance(out)):
        raise InputError(f"{out} exists and is {'not an earlier export' if overwrite else 'not empty'}; give another output folder")
    facts = {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in provenance.items()}
    changed = by_part(source, state)
    others = [name for name in changed if name != edited_part(source).name]
    facts |= {
        "erase-concept": package_version("erase-concept"),
        **({"edited": ", ".join(others)} if others else {}),
        "source_sha256": network_hash(edited_part(source)),
        **single_file_origin(source),
    }
    part, old = (temporary(out), temporary(out))
    try:
        with disk_errors(out, resumes=False):
            _copy_parts(source, part)
            for name in (edited_part(source).name, *others):  # the first has the provenance, whichever was edited
                own = {stored: state[given] for stored, given in changed.get(name, {}).items()}
                _write_network(source / name, part / name, own, facts)
            write_card(part)
            sync(part)
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
    """Everything but the weights of the UNet or transformer.

    Only what a pipeline loads: the root often has the old model again, as a single file.
    """
    part.mkdir(parents=True)
    copy_root(source, part)
    edited = edited_part(source).name
    for name in complete_parts(source):
        copy_part(source / name, part / name, shutil.copyfile if name != edited else None)


def _write_network(source: Path, target: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    files = weight_files(source)
    names = {name for plain, path in files.items() if path.suffix != ".json" for name in header(path)[0]}
    if unknown := sorted(set(state) - names):
        raise ValueError(f"the {source.name} of the source has no weights {', '.join(unknown[:3])} ({len(unknown)} in all)")
    for plain, path in files.items():
        if path.suffix == ".json":
            copy_shard_index(path, target / plain)
        else:
            _rewrite(path, target / plain, state, facts)


def _rewrite(source: Path, target: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """The same file with other values, in the source's order and dtypes."""
    entries, _ = header(source)
    earlier = entries.pop("__metadata__", {})
    if "erase-concept" in earlier:  # erased before, of another concept: keep the whole history
        facts = {**facts, "earlier": json.dumps(earlier, sort_keys=True, ensure_ascii=False)}
    with open_tensors(source) as tensors:
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
