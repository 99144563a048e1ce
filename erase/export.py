"""A complete diffusers pipeline folder with new UNet weights: safetensors, the source's dtypes, provenance, model card.

Knows no method; works on files, a tensor at a time, so that a model is never in memory twice. Also says what kind of
model folder it was given, and refuses pickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.files import sha256, write_json, written
from erase.run import disk_errors, package_version
from erase.task import InputError
from erase.tensorfile import header

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
SUPPORTED = {"StableDiffusionPipeline": PARTS, "StableDiffusionXLPipeline": (*PARTS, "text_encoder_2", "tokenizer_2")}
PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
HALF = {"F16", "BF16"}
# diffusion_pytorch_model[.fp16][-00001-of-00002].safetensors, the older ...-00001-of-00002.fp16.safetensors, and indices
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?:\.(\w+))?(-\d+-of-\d+)?(?:\.(\w+))?(\.safetensors)(?:(\.index)(?:\.(\w+))?\.json)?"
)
SAFER = "from diffusers import StableDiffusionPipeline as P; P.{load}({path!r}).save_pretrained('converted')"


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
        raise InputError(f"the export {out.name} and its source {source.name} lie one in the other; give another output folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (overwrite and read_provenance(out)):
        raise InputError(f"{out} is there and {'no earlier export' if overwrite else 'not empty'}; give another output folder")
    facts = {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in provenance.items()}
    facts |= {"erase-concept": package_version("erase-concept"), "source_sha256": _one_hash(source / "unet"), **_single_file(source)}
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


def weight_files(component: Path, variant: str | None = None) -> dict[str, Path]:
    """A component's safetensors files (and shard index) by the name that a plain from_pretrained looks for."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(component.glob("*.safetensors*")):
        if match := WEIGHTS.fullmatch(path.name):
            stem, before, shard, after, suffix, index, last = match.groups()
            plain = f"{stem}{shard or ''}{suffix}{f'{index}.json' if index else ''}"
            found.setdefault(before or after or last or "", {})[plain] = path
    order = [variant] if variant is not None else sorted(found, key=lambda name: (name != "", name != "fp16", name))
    return found.get(order[0], {}) if order else {}


def variant_of(folder: Path) -> str | None:
    """The `variant` that from_pretrained needs for this folder's UNet; None for plain names."""
    first = next(iter(weight_files(folder / "unet").values()), Path())
    match = WEIGHTS.fullmatch(first.name)
    return (match[2] or match[4] or match[7]) if match else None


def weight_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every weight file that loading this pipeline folder reads, by relative name."""
    files = [path for name in components(folder) for path in weight_files(folder / name).values() if path.suffix == ".safetensors"]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(files)}


def read_provenance(folder: Path) -> dict[str, str]:
    """What the metadata of an export's UNet says; empty for a folder that is no export of ours."""
    files = [path for path in weight_files(folder / "unet").values() if path.suffix == ".safetensors"]
    found = header(files[0])[0].get("__metadata__", {}) if files else {}
    return {name: value for name, value in sorted(found.items()) if name != "format"} if "erase-concept" in found else {}


def check_model_folder(path: Path) -> None:
    """InputError unless `path` is a pipeline folder of a supported family with safetensors weights."""
    if path.suffix.lower() in PICKLES and not path.is_dir():
        remedy = f'convert it where that does no harm: python -c "{SAFER.format(load="from_single_file", path=str(path))}"'
        raise InputError(f"{path} is a pickle, which can run any code when it is loaded; expected a diffusers folder: {remedy}")
    if not path.is_dir():
        what = "a file" if path.exists() else "not there"
        raise InputError(f"{path} is {what}; expected a diffusers folder, a .safetensors checkpoint or a hub name")
    if not (path / "model_index.json").is_file():
        found = sorted(entry.name for entry in path.iterdir())
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "") if found else "nothing"
        raise InputError(f"{path} has no model_index.json (it holds {shown}); expected a diffusers folder or a hub name")
    family = _index(path).get("_class_name")
    if family not in SUPPORTED:
        raise InputError(f"{path} is a {family}, not yet supported; expected {' or '.join(SUPPORTED)}")
    if absent := [part for part in SUPPORTED[family] if part not in components(path)]:
        raise InputError(f"{path} is a {family} without {' and '.join(absent)}; give a model with all of its parts")
    for name in components(path):
        _check_component(path, name)


def write_card(folder: Path, measured: str = "") -> None:
    """README.md of an exported folder; call it again when there are numbers (`measured`, a block of Markdown)."""
    with written(folder / "README.md") as part:
        part.write_text(model_card(read_provenance(folder), measured, pipeline=str(_index(folder).get("_class_name"))), encoding="utf-8")


LOADING = {  # format -> how it is loaded
    "folder": 'pipeline = {pipeline}.from_pretrained("this/folder")',
    "single-file": 'pipeline = {pipeline}.from_single_file("{file}")',
    "unet": 'pipeline = {pipeline}.from_pretrained("the/source/model")\npipeline.unet.load_state_dict(load_file("{file}"))',
}


def model_card(
    provenance: Mapping[str, Any], measured: str = "", form: str = "folder", file: str = "", pipeline: str = "StableDiffusionPipeline"
) -> str:
    """What was erased, how, from what, what was measured, what that does not say, and how to load it."""
    concept, method = provenance.get("concept", "a concept"), provenance.get("method", "an unlearning method")
    facts = "\n".join(f"| {name} | `{value}` |" for name, value in provenance.items() if not name.startswith("modelspec."))
    imports = f"from diffusers import {pipeline}" + ("\nfrom safetensors.torch import load_file" if form == "unet" else "")
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
tags: [stable-diffusion, concept-erasure, machine-unlearning]
---

# {provenance.get("source", "A diffusion model")} without {concept}

The concept **{concept}** was taken out of the weights of the UNet with {method} (erase-concept). The other parts, the
text encoder and the autoencoder among them, are those of the source model. Its licence and its limits hold here too.

```python
{imports}
{LOADING[form].format(pipeline=pipeline, file=file)}
pipeline("a prompt").images[0].save("picture.png")
```

## How it was made

| | |
|---|---|
{facts}

`source_sha256` is the hash of the UNet weights that it was made from. The same facts are in the metadata of the weight files.
Which weights were changed is not published here: that list helps to bring the concept back (arXiv 2603.06640).

{measured.strip() + chr(10) + chr(10) if measured else ""}## What it is for

For publishing or running the model without this concept, beside other safeguards. **It is no proof of absence**: the
measurements cover the prompts, seeds and detector that they name. Indirect descriptions, adversarial prompts or further
training may bring the concept back; test it for your own use.
"""


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / 'model_index.json'} is not JSON ({error}); fetch the model again") from error
    return index if isinstance(index, dict) else {}


def components(folder: Path) -> list[str]:
    """The parts that a folder's index lists."""
    return [name for name, value in _index(folder).items() if isinstance(value, list) and len(value) == 2 and value[1] is not None]


def _check_component(folder: Path, name: str) -> None:
    if Path(name).name != name or not (folder / name).is_dir():
        raise InputError(f"{folder} lacks its part {name}, which model_index.json lists; fetch the model again")
    pickles = sorted(path.name for path in (folder / name).iterdir() if path.suffix.lower() in PICKLES)
    if files := weight_files(folder / name):
        _check_whole(files)
        return
    if pickles:
        remedy = f'convert it where that does no harm: python -c "{SAFER.format(load="from_pretrained", path=str(folder))}"'
        what = f"has the weights of {name} only as a pickle ({pickles[0]}), which can run any code"
        raise InputError(f"{folder} {what}; expected .safetensors: {remedy}")
    if name in {"unet", "vae", "text_encoder", "text_encoder_2"}:
        raise InputError(f"{folder} has no weights for {name}; expected {name}/*.safetensors: fetch the model again")


def _check_whole(files: Mapping[str, Path]) -> None:
    """InputError for a file that a broken download has left torn, or not at all: before hours of work, not after."""
    for plain, path in files.items():
        if path.suffix == ".safetensors":
            header(path)
            continue
        try:
            listed = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no index of shards ({error}); fetch the model again") from error
        if absent := sorted(name for name in listed if not (path.parent / name).is_file()):
            raise InputError(f"{path.parent} lacks {absent[0]}, which {plain} lists; fetch the model again")


def _copy_parts(source: Path, part: Path) -> None:
    """All but the UNet's weights. Only what a pipeline loads: a root often holds the old model once more, as one file."""
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
    """Shards of a variant get plain names, in the index too."""
    index = json.loads(path.read_text(encoding="utf-8"))
    plain = {file.name: name for name, file in weight_files(path.parent).items()}
    index["weight_map"] = {name: plain[file] for name, file in index["weight_map"].items()}
    write_json(target, index)


def _reads_half(weights: Mapping[str, Path]) -> bool:
    """Whether this is a part of transformers in half precision, which a plain from_pretrained would leave in it."""
    files = [path for name, path in weights.items() if name.startswith("model") and path.suffix == ".safetensors"]
    return any(entry["dtype"] in HALF for path in files for entry in header(path)[0].values() if "dtype" in entry)


def _copy_json(path: Path, target: Path, widen: bool = False) -> None:
    """Copy byte by byte, but for two things: a folder name of the machine that saved it, and the dtype to load in.

    transformers loads a part in the dtype that its config names (or its file holds), diffusers in float32: text encoder
    and UNet of a half-precision folder then do not fit. float32 in the config mends the plain load; the file stays.
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
    """The same file with other values. Written by hand: safetensors puts metadata in another order in every process."""
    from safetensors import safe_open

    entries, _ = header(source)
    earlier = entries.pop("__metadata__", {})
    notes = {**facts, "format": "pt"}
    if "erase-concept" in earlier:  # erased before, of another concept: keep the whole story
        notes["earlier"] = json.dumps(earlier, sort_keys=True, ensure_ascii=False)
    text = json.dumps({"__metadata__": dict(sorted(notes.items())), **entries}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with safe_open(source, "pt") as tensors, target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(entries, key=lambda name: tuple(entries[name]["data_offsets"])):
            value = _merged(name, tensors.get_tensor(name), state.get(name))
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _merged(name: str, there: Tensor, new: Tensor | None) -> Tensor:
    """New values in the source's dtype; entries that still equal the source's as rounded by the run stay as they were."""
    if new is None:
        return there
    new = new.detach().cpu()
    if new.shape != there.shape:
        raise ValueError(f"{name} is {tuple(new.shape)}; the source has {tuple(there.shape)}")
    value = torch.where(there.to(new.dtype) == new, there, new.to(there.dtype))
    if not torch.isfinite(value).all():
        raise ArithmeticError(f"{name} is not finite in {there.dtype}; nothing was exported")
    return value


def _single_file(folder: Path) -> dict[str, str]:
    """The name and hash of the file that a folder was unpacked from, where it was."""
    files = [path for path in weight_files(folder / "unet").values() if path.suffix == ".safetensors"]
    found = header(files[0])[0].get("__metadata__", {}) if files else {}
    return {name: found[name] for name in ("single_file", "single_file_sha256") if name in found}


def _one_hash(unet: Path) -> str:
    """sha256 of the weight file; of several: of their names and hashes."""
    hashes = {name: sha256(path) for name, path in sorted(weight_files(unet).items()) if path.suffix == ".safetensors"}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in hashes.items()).encode()).hexdigest()
