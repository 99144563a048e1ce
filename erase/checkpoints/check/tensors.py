"""A part's weight files against the tensors that its configuration calls for, by their headers alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.check.networks import Shapes, expected_shapes
from erase.checkpoints.folder import config_of, weight_files
from erase.checkpoints.safetensors_header import header
from erase.checkpoints.weight_names import modern_attention
from erase.errors import InputError

FLOATS = ("F64", "F32", "F16", "BF16")
ADAPTER = re.compile(r"\.base_layer\.|[._]lora|lora_|\.processor\.|hada_w|lokr_w|\.oft_|ia3_l|\.modules_to_save\.")
QUANTISED = re.compile(
    r"\.(absmax|quant_map|nested_absmax|SCB|qweight|qzeros|scales|g_idx|weight_scale|scale_weight|scale_input)$|quant_state|scaled_fp8"
)
REMEDY_8BIT = "give it in float16, bfloat16 or float32"


def check_tensors(folder: Path, part: str) -> None:
    """InputError for weights that are quantised, of an adapter, missing, or of another shape than the configuration's."""
    if "quantization_config" in (config := config_of(folder, part, "config.json")) and config["quantization_config"]:
        settings = config["quantization_config"]
        method = settings.get("quant_method", "unnamed") if isinstance(settings, dict) else settings
        raise InputError(f"{folder}: its {part} is quantised ({method}), and quantised weights cannot be changed; {REMEDY_8BIT}")
    entries = stored(folder, part)
    label = f"{folder}: its {part}"
    refuse_adapters(label, entries)
    if marks := sorted(name for name in entries if QUANTISED.search(name)):
        raise InputError(f"{label} is quantised (it has {marks[0]}), and quantised weights cannot be changed; {REMEDY_8BIT}")
    expected = expected_shapes(folder, part)
    if expected is not None:
        by_name = {plain_name(part, name): entry for name, entry in entries.items()}
        check_shapes(label, {name: tuple(entry["shape"]) for name, entry in by_name.items()}, expected)
        entries = {name: by_name[name] for name in expected}
    if strange := sorted((name for name, entry in entries.items() if entry["dtype"] not in FLOATS), key=_is_position):
        name = strange[0]
        if expected is not None or not _is_position(name):
            raise InputError(f"{label} has {name} in {entries[name]['dtype']}; {REMEDY_8BIT}")


def refuse_adapters(label: str, names: Iterable[str]) -> None:
    """InputError where a file still has the weights of an adapter beside the network's own."""
    if left := sorted(name for name in names if ADAPTER.search(name)):
        problem = f"{label} has weights of an adapter that is not merged ({left[0]}, {len(left)} in all)"
        raise InputError(f"{problem}; merge it (fuse_lora, then unload_lora_weights) and save the model again")


def check_shapes(label: str, shapes: Mapping[str, tuple[int, ...]], expected: Shapes) -> None:
    """InputError where tensors are missing or of another shape."""
    if absent := [name for name in expected if name not in shapes]:
        raise InputError(f"{label} lacks {_some(absent)}, which its configuration calls for; download the model again")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise InputError(f"{label} has {name} of {shapes[name]} where {shape} belongs; download the model again")


def stored(folder: Path, part: str) -> dict[str, Any]:
    """Tensor -> its entry in the header, over all weight files of a part."""
    entries: dict[str, Any] = {}
    for path in weight_files(folder / part).values():
        if path.suffix == ".safetensors":
            entries |= {name: entry for name, entry in header(path)[0].items() if name != "__metadata__"}
    return entries


def plain_name(part: str, name: str) -> str:
    """The name of a stored tensor under today's names; that of a text encoder without `text_model.`."""
    return modern_attention(name) if part == "vae" else name.removeprefix("text_model.") if part.startswith("text") else name


def used_tensors(folder: Path, part: str) -> frozenset[str]:
    """The stored names of the tensors that a network reads: not those that a file has beside them, as averaged copies."""
    expected = expected_shapes(folder, part)
    names = stored(folder, part)
    return frozenset(name for name in names if expected is None or plain_name(part, name) in expected)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} other tensors"


def _is_position(name: str) -> bool:
    return name.endswith("position_ids")
