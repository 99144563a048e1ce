"""The header of a safetensors file: names, dtypes, shapes and offsets of its tensors, and its metadata. No tensor is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from erase.errors import InputError


def header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and the offset of its data; InputError for another or an incomplete file."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError("its header does not fit")
            entries = json.loads(file.read(length))
        if not isinstance(entries, dict):
            raise ValueError("its header is not an object")
        end = max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a safetensors file ({error}); download it again") from error
    if 8 + length + end != size:
        raise InputError(f"{path} is incomplete: {size} bytes, and its header announces {8 + length + end}; download it again")
    return entries, 8 + length


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a file: text by name."""
    return dict(header(path)[0].get("__metadata__", {}))
