"""The header of a safetensors file: names, dtypes, shapes and offsets of its tensors, and its metadata. No tensor is read.

The header is checked before the format's own library sees the file: that library aborts or raises errors of many kinds on some of
what is refused here.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from erase.errors import InputError
from erase.files.reading import parse_json

if TYPE_CHECKING:
    from safetensors import safe_open
    from torch import Tensor

HEADER_BYTES = 32 * 2**20  # real ones have less than one; a thumbnail in the metadata may add some
RANK = 16  # dimensions of a tensor
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""dtype -> bits of a value."""


def header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and the offset of its data; InputError for another or an incomplete file.

    Each entry has a dtype of BITS, a shape and data_offsets that fit one another; together the tensors fill the data exactly.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is {'a folder' if path.is_dir() else 'a device'}; expected a .safetensors file")
        with path.open("rb") as file:
            entries, start = _parsed(file, status.st_size, path)
        end = _end(entries)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a .safetensors file that can") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not a safetensors file ({error}); download it again") from error
    if start + end != status.st_size:
        raise InputError(f"{path} is incomplete: {status.st_size} bytes, and its header announces {start + end}; download it again")
    return entries, start


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a file: text by name."""
    return dict(header(path)[0].get("__metadata__", {}))


def _parsed(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        raise ValueError("its header does not fit")
    if length > HEADER_BYTES:
        raise ValueError(f"its header has {length / 2**20:.0f} MiB, of at most {HEADER_BYTES / 2**20:.0f}")
    entries = parse_json(file.read(length), f"the header of {path}", unique=True)
    if not isinstance(entries, dict):
        raise ValueError("its header is not an object")
    facts = entries.get("__metadata__", {})
    if facts is None:  # the format's library writes none and reads this as none
        del entries["__metadata__"]
    elif not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError("its metadata is not an object of texts")
    return entries, 8 + length


def _end(entries: dict[str, Any]) -> int:
    """Where the data of the tensors ends; ValueError for an entry that fits no tensor, and for tensors that overlap or leave a gap."""
    spans = {name: _span(name, entry) for name, entry in entries.items() if name != "__metadata__"}
    end = 0
    for name, (first, last) in sorted(spans.items(), key=lambda item: item[1]):
        if first != end:
            raise ValueError(f"the data of {_quoted(name)} begins at {first}, where {end} is expected")
        end = last
    return end


def _span(name: str, entry: Any) -> tuple[int, int]:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"the entry {_quoted(name)} lacks its dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{_quoted(name)} is of the dtype {str(dtype)[:20]!r}, which the format does not have")
    if not _counts(shape) or len(shape) > RANK:
        raise ValueError(f"{_quoted(name)} has the shape {str(shape)[:60]}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{_quoted(name)} has the data_offsets {str(offsets)[:60]}")
    size, rest = divmod(math.prod(shape) * BITS[dtype], 8)
    if rest or offsets[1] - offsets[0] != size:
        raise ValueError(f"{_quoted(name)} is {dtype} of the shape {str(shape)[:60]} in {offsets[1] - offsets[0]} bytes")
    return offsets[0], offsets[1]


def _counts(value: Any) -> bool:
    """Whether this is a list of whole numbers from 0 that fit in 64 bits."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


@contextmanager
def open_tensors(path: Path) -> Iterator[safe_open]:
    """A checked safetensors file, whose tensors are read one by one as torch tensors."""
    from safetensors import SafetensorError, safe_open

    header(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{path} cannot be read ({error}); replace it") from error


def load_tensors(path: Path, needed: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors of a checked safetensors file by name; InputError where one of `needed` is missing."""
    with open_tensors(path) as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if absent := next((name for name in needed if name not in tensors), None):
        raise InputError(f"{path} lacks the tensor {absent}; delete it and run the same command again, which makes a new one")
    return tensors
