"""Write a pipeline folder as other programs load it: one file in the original layout, the edited network alone, or a folder, in any dtype.

Weights are renamed and reshaped, not computed on, so in the source's dtype every value stays the same. What a single file cannot
store is refused, not dropped. Trim masks and sensitivity scores are never exported: knowing which weights were changed helps to
restore the concept (arXiv 2603.06640).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from erase.checkpoints import DTYPES, FORMATS
from erase.checkpoints.check.classes import CLIP_TEXT, CLIP_TOKENIZERS
from erase.checkpoints.check.networks import part_class, part_config, shapes_of
from erase.checkpoints.check.noise import Noise, noise_of
from erase.checkpoints.check.tensors import plain_name
from erase.checkpoints.check.values import check_folder_values
from erase.checkpoints.configs import Config, configs, misfits
from erase.checkpoints.copying import complete_parts, copy_part, copy_root
from erase.checkpoints.families import FAMILIES, NOISE, TEXT_ENCODERS, to_file, to_folder
from erase.checkpoints.folder import GUIDANCE, check_model_folder, edited_part, image_size, read_provenance, weight_files
from erase.checkpoints.lora.names import family_of
from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors, write_lazy
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.transformer.pack import IMPLEMENTATION, architecture, transformer_file
from erase.checkpoints.transformer.recognise import KINDS
from erase.checkpoints.weight_names import clip_to_folder, strays
from erase.errors import InputError
from erase.files import sync, temporary
from erase.files.disk import disk_errors

_DTYPES: dict[str, torch.dtype | None] = {"source": None, "float16": torch.float16, "float32": torch.float32}
SOURCES = {
    "sd1": "https://github.com/CompVis/stable-diffusion",
    "sd2": "https://github.com/Stability-AI/stablediffusion",
    "sdxl": "https://github.com/Stability-AI/generative-models",
}
NO_PROOF = "Not a proof of absence: other words, adversarial prompts or further training may restore the concept."


def pack(folder: Path, out: Path, form: str = "single-file", dtype: str = "source") -> Path:
    """Write a pipeline folder to `out` in one of FORMATS and DTYPES, whole or not at all; `out` must not exist.

    The metadata of every file has the provenance recorded in the folder's UNet. InputError where the single-file layout cannot
    store the folder, and where a value exceeds the dtype.
    """
    check_model_folder(folder)
    if form not in FORMATS or dtype not in DTYPES:
        raise InputError(f"--format {form} --dtype {dtype} is unknown; expected one of {', '.join(FORMATS)} and of {', '.join(DTYPES)}")
    if form != "folder" and out.suffix.lower() != ".safetensors":
        raise InputError(f"--output {out} is a single file in this format; expected a name that ends in .safetensors", option="output")
    if out.exists():
        raise InputError(f"--output {out} exists already; give another name", option="output")
    writers: dict[str, Callable[[Path, Path, torch.dtype | None], None]]
    writers = {"folder": _folder, "single-file": _single_file, "unet": _unet_file}
    if (folder / GUIDANCE).is_file():
        raise InputError(f"{folder} has the original's weights and is only guided while it draws, so nothing is erased; export another run")
    alone = form == "unet" or (form == "single-file" and family_of(folder) == "flux")
    if alone and (edited := read_provenance(folder).get("edited")):
        remedy = "single-file" if family_of(folder) != "flux" else "folder"
        raise InputError(f"--format {form} leaves out {edited}, which is what this run changed; give --format {remedy}", option="format")
    check_folder_values(folder)
    with disk_errors(out, resumes=False):
        writers[form](folder, out, _DTYPES[dtype])
    return out


def _single_file(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    family = family_of(folder)
    if family in KINDS:
        facts = {**_facts(folder), **_specification(folder, architecture(folder, family), IMPLEMENTATION[family], image_size(folder))}
        write_lazy(out, {name: tensor.cast(dtype) for name, tensor in transformer_file(folder, family).items()}, facts)
        return
    _unet_single_file(folder, family, out, dtype)


def _unet_single_file(folder: Path, family: str, out: Path, dtype: torch.dtype | None) -> None:
    noise, size = noise_of(folder), image_size(folder)
    for part in FAMILIES[family].text:
        _check_clip(folder, part, family)
    parts = {name: _tensors(folder / name) for name in ("unet", "vae", *FAMILIES[family].text)}
    tensors: dict[str, LazyTensor] = to_file(parts, family)
    modern = to_folder(tensors, family)  # the folder that this file would unpack into
    own = {name: part_config(folder, name) for name in parts}
    try:
        implied = configs(modern, family, noise.prediction, size or (0, 0))
    except KeyError as error:
        raise _does_not_fit(folder, family, [f"its layout needs {error.args[0]}"]) from None
    problems = misfits(own, implied) + _noise_misfits(noise) + text_misfits(own, family) + _lost(parts, modern) + strays(tensors)
    if problems := problems or _misshapen(modern, implied):
        raise _does_not_fit(folder, family, problems)
    flags = {"v_pred": noise.prediction == "v_prediction" and family == "sdxl", "ztsnr": noise.zero_snr}
    tensors |= {name: LazyTensor(name, torch.float32, (0,), lambda: torch.zeros(0)) for name, is_set in flags.items() if is_set}
    specification = _specification(folder, FAMILIES[family].specification[noise.prediction], SOURCES[family], size)
    facts = {**_facts(folder), **specification, "modelspec.prediction_type": "v" if noise.prediction == "v_prediction" else "epsilon"}
    write_lazy(out, {name: tensor.cast(dtype) for name, tensor in tensors.items()}, facts)


def _does_not_fit(folder: Path, family: str, problems: list[str]) -> InputError:
    summary = f"{problems[0]}; {len(problems)} in all"
    message = f"{folder} does not fit into a single file of {FAMILIES[family].title} ({summary}); give --format folder"
    return InputError(message, option="format")


def _check_clip(folder: Path, part: str, family: str) -> None:
    """InputError for a text encoder or a tokenizer of another kind: a single file has neither configuration nor tokenizer."""
    tokenizer = part.replace("text_encoder", "tokenizer")
    for name, classes in ((part, CLIP_TEXT), (tokenizer, CLIP_TOKENIZERS)):
        if (kind := part_class(folder, name)) not in classes:
            raise _does_not_fit(folder, family, [f"its {name} is a {kind}, and every program reads such a file with that of CLIP"])


def _misshapen(parts: Mapping[str, Mapping[str, LazyTensor]], implied: Mapping[str, Config]) -> list[str]:
    """Where a network of the implied configuration has other tensors than the file."""
    problems = []
    for part, tensors in parts.items():
        kind = implied[part].get("_class_name") or implied[part]["architectures"][0]
        expected = shapes_of(str(kind), implied[part])
        shapes = {plain_name(part, name): tensor.shape for name, tensor in tensors.items()}
        different = sorted(name for name in expected if shapes.get(name) != expected[name])
        problems += [f"{part}: {name} {shapes.get(name, 'missing')}, not {expected[name]}" for name in different]
    return problems


def _noise_misfits(noise: Noise) -> list[str]:
    """Where the noise process is not the one that every single file has."""
    if noise.betas is not None:
        return ["scheduler: trained_betas, for which a single file has no place"]
    own = {"num_train_timesteps": noise.steps, "beta_start": noise.start, "beta_end": noise.end, "beta_schedule": noise.schedule}
    return [f"scheduler: {name} {value}, not {NOISE[name]}" for name, value in own.items() if value != NOISE[name]]


def text_misfits(own: Mapping[str, Config], family: str) -> list[str]:
    """Where a text encoder of the published width differs otherwise from the family's, which programs build without a configuration."""
    return [
        f"{part}: {name} {own[part][name]}, not {value}"
        for part, usual in TEXT_ENCODERS[family].items()
        if own[part]["hidden_size"] == usual["hidden_size"]
        for name, value in usual.items()
        if own[part][name] != value
    ]


def _unet_file(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    """With diffusers' names: it replaces diffusion_pytorch_model.safetensors in unet, or in transformer."""
    write_lazy(out, {name: tensor.cast(dtype) for name, tensor in _tensors(edited_part(folder)).items()}, _facts(folder))


def _folder(folder: Path, out: Path, dtype: torch.dtype | None) -> None:
    part = temporary(out)
    try:
        part.mkdir(parents=True)
        copy_root(folder, part, readme=True)
        for name in complete_parts(folder):
            copy_part(folder / name, part / name, shutil.copyfile if dtype is None else _caster(dtype))
        sync(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _caster(dtype: torch.dtype) -> Callable[[Path, Path], None]:
    def cast(source: Path, target: Path) -> None:
        write_lazy(target, {name: tensor.cast(dtype) for name, tensor in lazy_tensors(source).items()}, metadata(source))

    return cast


def _lost(parts: Mapping[str, Mapping[str, LazyTensor]], unpacked: Mapping[str, Mapping[str, LazyTensor]]) -> list[str]:
    """Tensors of the folder that the single file's folder would not have."""
    problems = []
    for name, tensors in parts.items():
        stored = clip_to_folder(tensors) if name.startswith("text") else tensors
        if len(stored) != len(unpacked[name]):
            problems.append(f"{name}: {len(stored)} tensors, of which {len(unpacked[name])} can be stored")
    return problems


def _tensors(component: Path) -> dict[str, LazyTensor]:
    files = [path for path in weight_files(component).values() if path.suffix == ".safetensors"]
    return {name: tensor for path in files for name, tensor in lazy_tensors(path).items()}


def _facts(folder: Path) -> dict[str, str]:
    provenance = read_provenance(folder)
    return {**provenance, "not_a_proof": NO_PROOF} if provenance else {}


def _specification(folder: Path, architecture: str, implementation: str, size: tuple[int, int] | None) -> dict[str, str]:
    """Stability AI's ModelSpec 1.0.0, which desktop programs show, and from which this tool reads size and prediction type."""
    provenance = read_provenance(folder)
    concept, source = provenance.get("concept"), provenance.get("source", folder.name)
    network = "UNet" if edited_part(folder).name == "unet" else "transformer"
    erased = f"{source} with the concept {concept!r} erased from its {network}"
    description = {"modelspec.description": f"{erased}. {NO_PROOF}"} if concept else {}
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture,
        "modelspec.implementation": implementation,
        "modelspec.title": f"{source} without {concept}" if concept else source,
        **({"modelspec.resolution": f"{size[1]}x{size[0]}"} if size else {}),
        **description,
    }
