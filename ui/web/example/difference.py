"""The tensors of a safetensors file in which it differs from another, and that file again from both. Bytes only: no torch, no numpy.

Both files must hold the same tensors in the same layout, as a model and what was erased from it do.
"""

from __future__ import annotations

import json
from typing import Any

from erase.errors import InputError

Header = dict[str, Any]
METADATA = "__metadata__"


def difference(base: bytes, changed: bytes) -> bytes:
    """A safetensors file of the tensors of `changed` that are not those of `base`, with the metadata of `changed`."""
    (before, old), (after, new) = _parts(base), _parts(changed)
    _check_layout(before, after)
    table, data = {METADATA: after.get(METADATA, {})}, b""
    for name, entry in _tensors(after).items():
        start, end = entry["data_offsets"]
        if new[start:end] != old[start:end]:
            table[name] = {**entry, "data_offsets": [len(data), len(data) + end - start]}
            data += new[start:end]
    return _file(table, data)


def restored(base: bytes, difference: bytes) -> bytes:
    """The file that `difference` was made of."""
    (before, old), (changes, new) = _parts(base), _parts(difference)
    data, entries = bytearray(old), _tensors(before)
    for name, entry in _tensors(changes).items():
        start, end = entry["data_offsets"]
        if name not in entries or any(entries[name][key] != entry[key] for key in ("dtype", "shape")):
            raise InputError(f"{name} is not a tensor of this model; expected the model of which the difference was made")
        data[slice(*entries[name]["data_offsets"])] = new[start:end]
    return _file({METADATA: changes.get(METADATA, {}), **entries}, bytes(data))


def _parts(file: bytes) -> tuple[Header, bytes]:
    size = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:size]), file[size:]


def _tensors(header: Header) -> Header:
    return {name: entry for name, entry in header.items() if name != METADATA}


def _check_layout(before: Header, after: Header) -> None:
    if _tensors(before) != _tensors(after):
        raise InputError("the two files differ in more than the values of their tensors; expected a model and what was erased from it")


def _file(table: Header, data: bytes) -> bytes:
    """As erase.checkpoints.safetensors_file writes one."""
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data
