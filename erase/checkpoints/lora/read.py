"""Read a LoRA or a difference file against the model that it is added to; what does not fit that model is refused in one line.

kohya's names, those of diffusers (three generations) and those of ComfyUI are understood. Layers are matched by the names that the model's
own layers have in each of these layouts, so a file for another family has layers that the model lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from erase.checkpoints.check.values import faults_of
from erase.checkpoints.folder import PICKLES
from erase.checkpoints.lora.difference import part_tensors
from erase.checkpoints.lora.factors import Pair
from erase.checkpoints.lora.facts import COUNT
from erase.checkpoints.lora.names import DOTTED, KOHYA, TITLES, diffusers_prefix, family_of, kohya_name, layers_of
from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.transformer.names import Layer, in_order, swapped
from erase.errors import InputError

END = re.compile(
    r"(?P<role>\.lora_down\.weight|\.lora_up\.weight|[._]lora\.down\.weight|[._]lora\.up\.weight|\.lora_A(\.default)?\.weight"
    r"|\.lora_B(\.default)?\.weight|\.alpha|\.diff_b|\.diff)$"
)
TEXT = re.compile(r"^(lora_te\d?_|text_encoder(_\d)?\.|text_encoders\.)")
OTHER_KINDS = {
    r"hada_w": "a LoHa", r"lokr_": "a LoKr", r"oft_|boft": "an OFT", r"dora_scale|lora_magnitude": "a DoRA", r"a1\.weight$": "a GLoRA",
    r"emb_params|string_to_param": "a textual inversion", r"control_model\.|lora_controlnet": "a ControlNet",
}  # fmt: skip
SIGNS = {"flux": r"double_blocks|single_blocks|single_transformer_blocks", "sd3": r"joint_blocks|\.attn\.add_[qkv]_proj"}
WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # of the text that cross-attention reads


@dataclass
class Entry:
    """One layer of a file: the tensors that it has, by role."""

    layer: Layer
    heights: list[int]  # rows of each of its parts
    tensors: dict[str, LazyTensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SmallFile:
    """A file that fits a model: its entries by their name in the file, and the names of what it has for text encoders."""

    path: Path
    family: str
    entries: Mapping[str, Entry]
    text: tuple[str, ...]

    @property
    def is_difference(self) -> bool:
        return any(role in entry.tensors for entry in self.entries.values() for role in ("diff", "diff_b"))

    def pairs(self) -> dict[str, Pair]:
        """Layer of diffusers -> up and down of its own rows, with alpha / rank in up. Kernels stay kernels."""
        pairs: dict[str, Pair] = {}
        for entry in self.entries.values():
            up, down = entry.tensors["up"].load().float(), entry.tensors["down"].load().float()
            alpha = float(entry.tensors["alpha"].load()) if "alpha" in entry.tensors else float(down.shape[0])
            up = in_order(up * (alpha / down.shape[0]), entry.layer)
            pairs |= {part: (rows, down) for part, rows in zip(entry.layer.parts, up.split(entry.heights), strict=True)}
        return pairs

    def differences(self) -> dict[str, LazyTensor]:
        """Weight of diffusers -> what is added to it."""
        differences: dict[str, LazyTensor] = {}
        for entry in self.entries.values():
            for role, kind in (("diff", "weight"), ("diff_b", "bias")):
                if role in entry.tensors:
                    differences |= _split(entry.tensors[role], entry, kind)
        return differences


def _split(tensor: LazyTensor, entry: Entry, kind: str) -> dict[str, LazyTensor]:
    """A stacked difference as those of its parts."""
    first, parts = 0, {}
    for part, height in zip(entry.layer.parts, entry.heights, strict=True):
        rows = tensor.rows(first, first + height) if len(entry.layer.parts) > 1 else tensor
        parts[f"{part}.{kind}"] = swapped(rows) if entry.layer.swapped else rows
        first += height
    return parts


def read_small(path: Path, folder: Path) -> SmallFile:
    """A LoRA or a difference file for the model of `folder`; InputError, about --lora, for whatever is not one that fits it."""
    if path.suffix.lower() in PICKLES and not path.is_dir():
        raise _wrong(f"{path} is a pickle, which can run any code when it is loaded; give a .safetensors file")
    if not path.is_file():
        raise _wrong(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; expected a LoRA or a difference as .safetensors")
    family, weights = family_of(folder), part_tensors(folder)
    names = _known_names(family, weights, diffusers_prefix(folder))
    tensors = lazy_tensors(path)
    entries: dict[str, Entry] = {}
    text, unknown = [], []
    for name, tensor in tensors.items():
        end = END.search(name)
        stem = _plain(name[: end.start()]) if end else name
        if TEXT.match(name):
            text.append(name)
        elif end is None or stem not in names:
            unknown.append(name)
        else:
            layer = names[stem]
            heights = [weights[f"{part}.weight"].shape[0] for part in layer.parts]
            entries.setdefault(stem, Entry(layer, heights)).tensors[_role(end["role"])] = tensor
    if unknown:
        raise _wrong(_foreign(path, family, unknown, tensors))
    if not entries:
        raise _wrong(f"{path} has nothing for the {diffusers_prefix(folder)[:-1]} of a model, only for text encoders; give another file")
    _check_whole(path, entries)
    _check_shapes(path, family, entries, weights, tensors)
    _check_values(path, tensors)
    return SmallFile(path, family, entries, tuple(text))


def _wrong(message: str) -> InputError:
    return InputError(message, option="lora")


def _known_names(family: str, weights: Mapping[str, LazyTensor], prefix: str) -> dict[str, Layer]:
    """Every name that a layer may have in a file -> the layer."""
    names: dict[str, Layer] = {}
    modules = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    for module in modules:
        alone = Layer(module, (module,))
        flat = module.replace(".", "_")
        names |= dict.fromkeys((f"{prefix}{module}", module, KOHYA + flat, f"lora_transformer_{flat}", f"lycoris_{flat}"), alone)
    for layer in layers_of(family, weights):
        gain = "" if layer.gain == "weight" else f".{layer.gain}"
        names |= dict.fromkeys((kohya_name(layer), f"{DOTTED}{layer.original}{gain}", layer.original), layer)
    return names


def _plain(stem: str) -> str:
    """diffusers' names of before 2024 as those of today."""
    stem = stem.replace(".processor.", ".")
    return f"{stem}.0" if stem.endswith(".to_out") else stem


def _role(end: str) -> str:
    if end.startswith((".diff", ".alpha")):
        return end[1:]
    return "down" if "down" in end or "lora_A" in end else "up"


def _foreign(path: Path, family: str, unknown: list[str], tensors: Mapping[str, LazyTensor]) -> str:
    """What a file with unknown names is."""
    for pattern, kind in OTHER_KINDS.items():
        if any(re.search(pattern, name) for name in tensors):
            return f"{path} is {kind}, which is not read; expected a LoRA or a difference of weights"
    if not any(END.search(name) for name in tensors):
        return f"{path} is not a LoRA: its {len(tensors)} tensors are of another kind ({unknown[0]}); expected a LoRA or a difference"
    other = family_in(tensors)
    what = f"for {TITLES[other]}, and the model is of {TITLES[family]}" if other and other != family else "for another model"
    count = f"{len(unknown)} of its {len(tensors)} tensors are of layers that the model lacks, as {unknown[0]}"
    return f"{path} is {what}: {count}; give the model that it was made for with --original"


def family_in(tensors: Mapping[str, LazyTensor]) -> str | None:
    """The family that a LoRA seems to be for; None where nothing tells."""
    for family, pattern in SIGNS.items():
        if any(re.search(pattern, name) for name in tensors):
            return family
    keys = re.compile(r"attn2[._](processor\.)?to_k.*(down|lora_A)")
    widths = [tensor.shape[1] for name, tensor in tensors.items() if keys.search(name) and len(tensor.shape) > 1]
    return WIDTHS.get(widths[0]) if widths else None


def _check_whole(path: Path, entries: Mapping[str, Entry]) -> None:
    """InputError for layers of which a half is missing, and for a file with fewer layers than it says of itself."""
    for name, entry in entries.items():
        have = entry.tensors.keys() - {"alpha"}
        if have not in ({"up", "down"}, {"diff"}, {"diff_b"}, {"diff", "diff_b"}):
            problem = f"{name} has {' and '.join(sorted(have)) or 'an alpha'} alone"
            torn = sum(len(e.tensors.keys() & {"up", "down"}) == 1 for e in entries.values())
            raise _wrong(f"{path} is not complete: {problem} ({torn} such layers of {len(entries)}); download it again")
    recorded = metadata(path).get(COUNT, "")
    if recorded.isdecimal() and int(recorded) != len(entries):
        raise _wrong(f"{path} is not complete: it has {len(entries)} layers and was written with {recorded}; download it again")


def _check_shapes(
    path: Path, family: str, entries: Mapping[str, Entry], weights: Mapping[str, LazyTensor], tensors: Mapping[str, LazyTensor]
) -> None:
    """InputError for a layer whose factors or difference do not have the shape of the model's weight."""
    for name, entry in entries.items():
        for kind in ("weight", "bias"):
            shapes = [weights[f"{part}.{kind}"].shape for part in entry.layer.parts if f"{part}.{kind}" in weights]
            own = _shape(entry, kind)
            if own is None:
                continue
            expected = (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else ()
            if own != expected and not (kind == "weight" and _matrix_shape(own) == _matrix_shape(expected)):
                other = family_in(tensors)
                what = f"for {TITLES[other]}, and the model is of {TITLES[family]}" if other and other != family else "for another model"
                raise _wrong(f"{path} is {what}: {name} is of {own}, and the model's of {expected}; give the model that it was made for")


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A kernel of one pixel as a matrix."""
    return shape[:2] if shape[2:] in ((), (1, 1)) else shape


def _shape(entry: Entry, kind: str) -> tuple[int, ...] | None:
    """The shape of the weight that an entry is for."""
    role = "diff" if kind == "weight" else "diff_b"
    if role in entry.tensors:
        return entry.tensors[role].shape
    if kind == "bias" or "up" not in entry.tensors:
        return None
    up, down = entry.tensors["up"].shape, entry.tensors["down"].shape
    return (up[0], *down[1:]) if len(up) > 1 and len(down) > 1 and up[1] == down[0] else (*up, *down)


def _check_values(path: Path, tensors: Mapping[str, LazyTensor]) -> None:
    """InputError for values that are not finite."""
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise _wrong(f"{path} has {name} in {str(tensor.dtype).removeprefix('torch.')}; give it in float16, bfloat16 or float32")
        fault = faults_of(tensor.load().float())
        if fault.nan or fault.infinite:
            raise _wrong(f"{path} has {fault} in {name}; it cannot be used, give another file")
