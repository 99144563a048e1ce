"""Safetensors files one tensor at a time: read lazily, reshape without loading, write in one pass.

A checkpoint of several gigabytes is converted within the memory of its largest tensor. The same tensors and metadata give the
same bytes: safetensors' own writer orders metadata differently in every process, so the header is written here.
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

from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import written

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is not read yet: name (for messages), dtype and shape are known, `load` reads it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[], Tensor]

    def reshaped(self, *shape: int) -> LazyTensor:
        return replace(self, shape=shape, load=lambda: self.load().reshape(shape))

    def transposed(self) -> LazyTensor:
        return replace(self, shape=self.shape[::-1], load=lambda: self.load().t())

    def rows(self, first: int, last: int) -> LazyTensor:
        return replace(self, shape=(last - first, *self.shape[1:]), load=lambda: self.load()[first:last])

    def cast(self, dtype: torch.dtype | None) -> LazyTensor:
        """In another floating-point dtype; unchanged for None and for integers. A value that overflows is an InputError."""
        if dtype is None or not self.dtype.is_floating_point or dtype == self.dtype:
            return self

        def load() -> Tensor:
            original = self.load()
            converted = original.to(dtype)
            if not torch.equal(torch.isfinite(converted), torch.isfinite(original)):
                raise InputError(f"{self.name} has values outside the range of {dtype}; give --dtype source or float32", option="dtype")
            return converted

        return replace(self, dtype=dtype, load=load)


def stacked(parts: list[LazyTensor]) -> LazyTensor:
    """Several tensors concatenated along the first dimension."""
    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return replace(first, shape=shape, load=lambda: torch.cat([part.load() for part in parts]))


def lazy_tensors(path: Path) -> dict[str, LazyTensor]:
    """Every tensor of a file by name, without reading any."""
    from safetensors import safe_open

    entries = {name: entry for name, entry in header(path)[0].items() if name != "__metadata__"}
    if strange := sorted({entry["dtype"] for entry in entries.values()} - DTYPES.keys()):
        raise InputError(f"{path} has tensors of the dtype {strange[0]}; expected F32, F16 or BF16")
    file = safe_open(path, "pt")

    def lazy(name: str, entry: Mapping[str, Any]) -> LazyTensor:
        return LazyTensor(name, DTYPES[entry["dtype"]], tuple(entry["shape"]), lambda: file.get_tensor(name))

    return {name: lazy(name, entry) for name, entry in entries.items()}


def write_lazy(path: Path, tensors: Mapping[str, LazyTensor], facts: Mapping[str, str]) -> None:
    """One safetensors file, whole or not at all: the tensors in the order of their names, `facts` as metadata."""
    entries: dict[str, Any] = {}
    offset = 0
    for name in sorted(tensors):
        size = math.prod(tensors[name].shape) * tensors[name].dtype.itemsize
        entries[name] = {"dtype": CODES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [offset, offset + size]}
        offset += size
    with written(path) as part:
        write_tensors_in_order(part, entries, facts, lambda name: tensors[name].load())


def write_tensors_in_order(path: Path, entries: Mapping[str, Any], facts: Mapping[str, str], load: Callable[[str], Tensor]) -> None:
    """Write a safetensors file with this header, loading one tensor at a time in the order of their offsets.

    `entries` is the header without its metadata: name -> dtype, shape, data_offsets; `facts` become the metadata. ValueError for a
    tensor that is not as its entry announces.
    """
    table = {"__metadata__": dict(sorted({**facts, "format": "pt"}.items())), **entries}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(entries, key=lambda name: tuple(entries[name]["data_offsets"])):
            tensor, entry = load(name), entries[name]
            if list(tensor.shape) != entry["shape"] or tensor.dtype != DTYPES[entry["dtype"]]:
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, announced as {entry['shape']} {entry['dtype']}")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
