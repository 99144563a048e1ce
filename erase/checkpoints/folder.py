"""A diffusers pipeline folder: which parts it has, its weight files and their hashes, and what is refused. Loads no weights."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import read_object, sha256

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
TRANSFORMER_PARTS = ("transformer", *PARTS[1:], "text_encoder_2", "tokenizer_2")
SUPPORTED = {
    "StableDiffusionPipeline": PARTS,
    "StableDiffusionXLPipeline": (*PARTS, "text_encoder_2", "tokenizer_2"),
    "FluxPipeline": TRANSFORMER_PARTS,
    "StableDiffusion3Pipeline": TRANSFORMER_PARTS,  # and text_encoder_3 with tokenizer_3, which may be absent
}
FLOW = ("StableDiffusion3Pipeline", "FluxPipeline")  # families that are trained by flow matching
PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
READ = {".json", ".txt", ".model", ".jinja", ".tiktoken"}  # what loaders read of a part beside its weights; .model: of sentencepiece
HALF = {"F16", "BF16"}
NAMES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}  # dtypes of weights
OLD_SIZE = 64
FLUX_SIZE = 128  # side of the latents in its pipeline; its transformer names none
# diffusion_pytorch_model[.fp16][-00001-of-00002].safetensors, the older ...-00001-of-00002.fp16.safetensors, and indices
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?:\.(\w+))?(-\d+-of-\d+)?(?:\.(\w+))?(\.safetensors)(?:(\.index)(?:\.(\w+))?\.json)?"
)
SAFER = "from diffusers import StableDiffusionPipeline as P; P.{load}({path!r}).save_pretrained('converted')"


def weight_files(component: Path, variant: str | None = None) -> dict[str, Path]:
    """A component's safetensors files (and shard index) by the name that a plain from_pretrained looks for."""
    by_variant: dict[str, dict[str, Path]] = {}
    for path in sorted(component.glob("*.safetensors*")):
        if match := WEIGHTS.fullmatch(path.name):
            stem, before, shard, after, suffix, index, last = match.groups()
            plain = f"{stem}{shard or ''}{suffix}{f'{index}.json' if index else ''}"
            by_variant.setdefault(before or after or last or "", {})[plain] = path
    order = [variant] if variant is not None else sorted(by_variant, key=lambda name: (name != "", name != "fp16", name))
    return by_variant.get(order[0], {}) if order else {}


GUIDANCE = "safe_guidance.json"
"""File of a model folder that is drawn with a guidance of ours (`erase.diffusion.safe_guidance`), and has the original's weights."""


def edited_part(folder: Path) -> Path:
    """The part whose weights are edited: the UNet, in families without one the transformer."""
    unet, transformer = folder / "unet", folder / "transformer"
    return transformer if transformer.is_dir() and not unet.is_dir() else unet


def stored_dtypes(folder: Path) -> set[str]:
    """The dtypes in which the weights of the edited part are stored, as `bfloat16`; none where there are no weights."""
    files = [path for path in weight_files(edited_part(folder)).values() if path.suffix == ".safetensors"]
    codes = {entry["dtype"] for path in files for name, entry in header(path)[0].items() if name != "__metadata__"}
    return {NAMES.get(code, code) for code in codes}


def is_bare(folder: Path) -> bool:
    """Whether a folder holds the configurations of a model and no weights."""
    names = {path.name for name in components(folder) if (folder / name).is_dir() for path in (folder / name).iterdir()}
    return not any(re.search(r"\.(safetensors|ckpt|bin|pth?|pkl)(\.|$)", name) for name in names)


def variant_of(folder: Path) -> str | None:
    """The `variant` that from_pretrained needs for this folder's edited part; None for plain names."""
    first = next(iter(weight_files(edited_part(folder)).values()), Path())
    match = WEIGHTS.fullmatch(first.name)
    return (match[2] or match[4] or match[7]) if match else None


def weight_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every weight file that loading this pipeline folder reads, by relative name; and of its guidance, which decides images too.

    InputError where a network has values that are not finite, or a tensor of zeros: they are looked at in the same pass.
    """
    from erase.checkpoints.check.values import digest_of_part

    guidance = {GUIDANCE: sha256(folder / GUIDANCE)} if (folder / GUIDANCE).is_file() else {}
    return guidance | {
        path.relative_to(folder).as_posix(): digest
        for name in sorted(components(folder))
        for path, digest in digest_of_part(folder, name).items()
    }


def read_provenance(folder: Path) -> dict[str, str]:
    """The metadata of an export's edited part; empty for a folder that this tool did not export."""
    files = [path for path in weight_files(edited_part(folder)).values() if path.suffix == ".safetensors"]
    facts = header(files[0])[0].get("__metadata__", {}) if files else {}
    return {name: value for name, value in sorted(facts.items()) if name != "format"} if "erase-concept" in facts else {}


def check_model_folder(path: Path, weights: bool = True) -> None:
    """InputError unless `path` is a pipeline folder of a supported family, complete and as its own configuration describes it.

    Where no `weights` are needed, a folder of configurations alone passes, too.
    """
    if path.suffix.lower() in PICKLES and not path.is_dir():
        remedy = f'convert it on a machine where that is safe: python -c "{SAFER.format(load="from_single_file", path=str(path))}"'
        raise InputError(f"{path} is a pickle, which can run any code when it is loaded; expected a diffusers folder: {remedy}")
    if not path.is_dir():
        problem = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {problem}; expected a diffusers folder, a .safetensors checkpoint or a hub name")
    if not (path / "model_index.json").is_file():
        names = sorted(entry.name for entry in path.iterdir())
        contents = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
        raise InputError(f"{path} has no model_index.json (it contains {contents}); expected a diffusers folder or a hub name")
    from erase.checkpoints.check.folder import check_folder  # it reads folders with what is below

    check_folder(path, weights)


def model_index(folder: Path) -> dict[str, Any]:
    return read_object(folder / "model_index.json")


def components(folder: Path) -> list[str]:
    """The parts that a folder's model_index.json lists."""
    return [name for name, value in model_index(folder).items() if isinstance(value, list) and len(value) == 2 and value[1] is not None]


def single_file_origin(folder: Path) -> dict[str, str]:
    """Name and hash of the single file that a folder was unpacked from; empty for another folder."""
    files = [path for path in weight_files(edited_part(folder)).values() if path.suffix == ".safetensors"]
    facts = header(files[0])[0].get("__metadata__", {}) if files else {}
    return {name: facts[name] for name in ("single_file", "single_file_sha256") if name in facts}


def single_file_hash(folder: Path) -> str | None:
    """The hash of the single file that a folder was unpacked from, with the same weights; None for another folder."""
    return None if read_provenance(folder) else single_file_origin(folder).get("single_file_sha256")


def network_hash(part: Path) -> str:
    """sha256 of the weight file; for several files, of their names and hashes."""
    hashes = {name: sha256(path) for name, path in sorted(weight_files(part).items()) if path.suffix == ".safetensors"}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in hashes.items()).encode()).hexdigest()


def config_of(folder: Path, part: str, name: str) -> dict[str, Any]:
    """A configuration of a model folder; InputError where it cannot be read."""
    try:
        return read_object(folder / part / name)
    except OSError as error:
        raise InputError(f"{folder / part / name} cannot be read ({error.strerror}); the model folder is not complete") from None


def image_size(folder: Path) -> tuple[int, int] | None:
    """Height and width in pixels of the images that diffusers generates by default; None where the network names no size.

    As diffusers reads `sample_size`: a number, or a pair; and below 64 in a folder of Stable Diffusion from before version 0.9 it is 64.
    """
    config = config_of(folder, edited_part(folder).name, "config.json")
    size = config.get("sample_size", FLUX_SIZE if config.get("_class_name") == "FluxTransformer2DModel" else None)
    if type(size) is int and size < OLD_SIZE and model_index(folder).get("_class_name") == "StableDiffusionPipeline" and _is_old(config):
        size = OLD_SIZE
    sides = [size, size] if type(size) is int else size
    if not isinstance(sides, list) or len(sides) != 2 or any(type(side) is not int or not 0 < side <= 2**13 for side in sides):
        return None
    return sides[0] * latent_factor(folder), sides[1] * latent_factor(folder)


def _is_old(config: Mapping[str, Any]) -> bool:
    version = re.match(r"(\d+)\.(\d+)", str(config.get("_diffusers_version", "")))
    return version is not None and (int(version[1]), int(version[2])) < (0, 9)


def latent_factor(folder: Path) -> int:
    """Side of an image in pixels per side of its latents."""
    blocks = config_of(folder, "vae", "config.json").get("block_out_channels", [64])
    return int(2 ** (len(blocks) - 1))


def size_of(folder: Path) -> int:
    """Side of the images that the model was trained on, in pixels; InputError where its configuration does not name one."""
    sides = image_size(folder)
    if sides is None or sides[0] != sides[1]:
        shape = f"images of {sides[1]} x {sides[0]} pixels" if sides else "no image size"
        raise InputError(f"the network of {folder} names {shape} (sample_size), and images here are square; give --size", option="size")
    return sides[0]


def is_small(folder: Path) -> bool:
    """Whether this is an embedded model or one of that size, for which other default counts make sense."""
    return max(image_size(folder) or (math.inf,)) <= 128


def doubled_by_guidance(folder: Path) -> bool:
    """Whether guidance takes two passes of the network per step: not where it was distilled and reads the scale, nor in FLUX.1 at all."""
    config = config_of(folder, edited_part(folder).name, "config.json")
    return config.get("_class_name") != "FluxTransformer2DModel" and config.get("time_cond_proj_dim") is None


def short_hash(folder: Path) -> str:
    """The first ten digits of the hash of the file that it was unpacked from, as A1111 shows them; else of its UNet."""
    return (single_file_hash(folder) or network_hash(edited_part(folder)))[:10]


def drawing_scheduler(folder: Path) -> str:
    """The class of the sampler that draws by default: the one in model_index.json, which its own configuration may contradict."""
    listed = model_index(folder).get("scheduler")
    return str(listed[1]) if isinstance(listed, list) and len(listed) == 2 and listed[1] else scheduler_of(folder)


def scheduler_of(folder: Path) -> str:
    """The class of the sampler that comes with the model."""
    return str(model_index(folder)["scheduler"][1])
