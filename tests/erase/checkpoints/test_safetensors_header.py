"""Every header that fits no file of the format is refused in one line; what the format's library writes and reads is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from erase.checkpoints.safetensors_header import header, load_tensors, metadata
from erase.errors import InputError
from erase.files import write_tensors

ONE: dict[str, Any] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
TWO = {**ONE, "data_offsets": [4, 8]}


def written(path: Path, head: Any, data: bytes = b"\0" * 4) -> Path:
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in ONE.items() if name != key}


BROKEN: dict[str, Any] = {
    "nested": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "one offset": {"a": {**ONE, "data_offsets": [4]}},
    "no dtype": {"a": without("dtype")},
    "no shape": {"a": without("shape")},
    "no offsets": {"a": without("data_offsets")},
    "negative shape": {"a": {**ONE, "shape": [-1]}},
    "text as shape": {"a": {**ONE, "shape": "abc"}},
    "huge shape": {"a": {**ONE, "shape": [2**62, 2**62]}},
    "huge number": {"a": {**ONE, "shape": [2**80]}},
    "fraction": {"a": {**ONE, "shape": [1.0]}},
    "truth": {"a": {**ONE, "shape": [True]}},
    "many dimensions": {"a": {**ONE, "shape": [1] * 1000}},
    "reversed": {"a": {**ONE, "data_offsets": [4, 0]}, "b": ONE},
    "negative offsets": {"a": {**ONE, "data_offsets": [-4, 0]}},
    "overlapping": {"a": ONE, "b": ONE},
    "gap": {"a": {**ONE, "data_offsets": [4, 8]}},
    "beyond the end": {"a": ONE, "b": TWO},
    "unknown dtype": {"a": {**ONE, "dtype": "F7"}},
    "no dtype but a list": {"a": {**ONE, "dtype": ["F32"]}},
    "another size": {"a": {**ONE, "dtype": "F16"}},
    "half a byte": {"a": {"dtype": "F4", "shape": [7], "data_offsets": [0, 4]}},
    "twice": b'{"a":%s,"a":%s}' % (json.dumps(ONE).encode(), json.dumps(ONE).encode()),
    "entry null": {"a": None},
    "entry list": {"a": [1]},
    "list": [1],
    "null": None,
    "not UTF-8": b'{"\xff": 1}',
    "not JSON": b"{'a': 1}",
    "metadata list": {"__metadata__": [1], "a": ONE},
    "metadata nested": {"__metadata__": {"a": {"b": 1}}, "a": ONE},
    "metadata number": {"__metadata__": {"a": 1}, "a": ONE},
    "metadata text": {"__metadata__": "x", "a": ONE},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", BROKEN[name])
    for read in (header, metadata, load_tensors):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 500 + len(str(path))


def test_a_long_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 110 * 2**20))
        file.truncate(8 + 110 * 2**20)
    with pytest.raises(InputError, match="its header has 110 MiB, of at most 32"):
        header(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    (tmp_path / "folder.safetensors").mkdir()
    for name, kind in (("device", "is a device"), ("folder", "is a folder"), ("absent", "cannot be read")):
        with pytest.raises(InputError, match=kind):
            header(tmp_path / f"{name}.safetensors")


def test_null_metadata_are_none(tmp_path: Path) -> None:
    assert metadata(written(tmp_path / "a.safetensors", {"__metadata__": None, "a": ONE})) == {}


def test_every_dtype_of_torch_and_every_shape_round_trips(tmp_path: Path) -> None:
    dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
              torch.bool, torch.float8_e4m3fn, torch.float8_e5m2)  # fmt: skip
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in dtypes}
    tensors |= {"none": torch.zeros(0, 4), "scalar": torch.tensor(3.0)}
    write_tensors(tmp_path / "a.safetensors", tensors, {"facts": "é"})
    assert metadata(tmp_path / "a.safetensors") == {"facts": "é"}
    assert sorted(header(tmp_path / "a.safetensors")[0]) == ["__metadata__", *sorted(tensors)]
    loaded = load_tensors(tmp_path / "a.safetensors", ["scalar"])
    assert all(torch.equal(loaded[name].float(), tensor.float()) and loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())
    with pytest.raises(InputError, match=r"lacks the tensor step; delete it"):
        load_tensors(tmp_path / "a.safetensors", ["step"])
