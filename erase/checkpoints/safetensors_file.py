"""Safetensors files a tensor at a time: read lazily, reshape without loading, write in one pass with a header of our own.

A checkpoint of several gigabytes is converted in the memory of its largest tensor; what is read of the file are pages that
the system may drop. The same tensors and facts give the same bytes: safetensors itself puts metadata in another order in
every process. Knows no model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.errors import InputError
from erase.files import written

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Lazy:
    """A tensor that is not read yet: its name in messages, dtype and shape are known, `load` fetches it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[], Tensor]

    def reshaped(self, *shape: int) -> Lazy:
        return replace(self, shape=shape, load=lambda: self.load().reshape(shape))

    def transposed(self) -> Lazy:
        return replace(self, shape=self.shape[::-1], load=lambda: self.load().t())

    def rows(self, first: int, last: int) -> Lazy:
        return replace(self, shape=(last - first, *self.shape[1:]), load=lambda: self.load()[first:last])

    def cast(self, dtype: torch.dtype | None) -> Lazy:
        """In another floating-point dtype; None, and whatever is no floating-point number, stays. Overflow is an InputError."""
        if dtype is None or not self.dtype.is_floating_point or dtype == self.dtype:
            return self

        def load() -> Tensor:
            value, there = self.load().to(dtype), self.load()
            if not torch.equal(torch.isfinite(value), torch.isfinite(there)):
                raise InputError(f"{self.name} holds values beyond the range of {dtype}; give --dtype source or float32")
            return value

        return replace(self, dtype=dtype, load=load)


def stacked(parts: list[Lazy]) -> Lazy:
    """Several below each other, as torch.cat."""
    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return replace(first, shape=shape, load=lambda: torch.cat([part.load() for part in parts]))


def header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and where the data begins; InputError for a file that is none, or torn."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError("its header does not fit")
            found = json.loads(file.read(length))
        if not isinstance(found, dict):
            raise ValueError("its header is no table")
        end = max((entry["data_offsets"][1] for name, entry in found.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); fetch it again") from error
    if 8 + length + end != size:
        raise InputError(f"{path} is torn: {size} bytes where its header announces {8 + length + end}; fetch it again")
    return found, 8 + length


def metadata(path: Path) -> dict[str, str]:
    """The text beside the tensors."""
    return dict(header(path)[0].get("__metadata__", {}))


def lazy_tensors(path: Path) -> dict[str, Lazy]:
    """Every tensor of a file by name, none of them read."""
    from safetensors import safe_open

    entries = {name: entry for name, entry in header(path)[0].items() if name != "__metadata__"}
    if strange := sorted({entry["dtype"] for entry in entries.values()} - DTYPES.keys()):
        raise InputError(f"{path} holds numbers of the type {strange[0]}; expected F32, F16 or BF16")
    file = safe_open(path, "pt")

    def lazy(name: str, entry: Mapping[str, Any]) -> Lazy:
        return Lazy(name, DTYPES[entry["dtype"]], tuple(entry["shape"]), lambda: file.get_tensor(name))

    return {name: lazy(name, entry) for name, entry in entries.items()}


def write_lazy(path: Path, tensors: Mapping[str, Lazy], facts: Mapping[str, str]) -> None:
    """One safetensors file, whole or not at all: the tensors in the order of their names, `facts` as metadata."""
    entries: dict[str, Any] = {"__metadata__": dict(sorted({**facts, "format": "pt"}.items()))}
    at = 0
    for name in sorted(tensors):
        size = math.prod(tensors[name].shape) * tensors[name].dtype.itemsize
        entries[name] = {"dtype": CODES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with written(path) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            value = tensors[name].load()
            if tuple(value.shape) != tensors[name].shape or value.dtype != tensors[name].dtype:
                raise ValueError(f"{name} is {tuple(value.shape)} {value.dtype}, announced as {tensors[name].shape} {tensors[name].dtype}")
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
