"""LazyTensor tensors compute what torch does; written files are read by safetensors, with the same bytes for the same content."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors, stacked, write_lazy
from erase.checkpoints.safetensors_header import header, metadata
from erase.errors import InputError


def lazy(value: Tensor) -> LazyTensor:
    return LazyTensor("value", value.dtype, tuple(value.shape), lambda: value)


def test_what_is_written_is_what_safetensors_reads(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    values = {f"w{i}": torch.arange(6).reshape(2, 3).to(kind) for i, kind in enumerate(kinds)}
    values |= {"empty": torch.zeros(0), "scalar": torch.tensor(2.5)}
    path = tmp_path / "file.safetensors"
    write_lazy(path, {name: lazy(value) for name, value in values.items()}, {"b": "2", "a": "ä"})
    found = load_file(path)
    assert found.keys() == values.keys()
    assert all(torch.equal(found[n], v) and found[n].dtype == v.dtype for n, v in values.items())
    assert metadata(path) == {"a": "ä", "b": "2", "format": "pt"}
    again = tmp_path / "again.safetensors"
    write_lazy(again, dict(reversed(lazy_tensors(path).items())), {"a": "ä", "b": "2"})
    assert again.read_bytes() == path.read_bytes()


def test_shapes_are_known_before_anything_is_read() -> None:
    a = torch.arange(24.0).reshape(6, 4)
    made = {
        "rows": (lazy(a).rows(2, 4), a[2:4]),
        "reshaped": (lazy(a).reshaped(6, 4, 1, 1), a.reshape(6, 4, 1, 1)),
        "transposed": (lazy(a).transposed(), a.t()),
        "stacked": (stacked([lazy(a), lazy(a + 1)]), torch.cat([a, a + 1])),
        "cast": (lazy(a).cast(torch.float16), a.half()),
        "same": (lazy(a).cast(None), a),
    }
    for found, wanted in made.values():
        assert found.shape == tuple(wanted.shape)
        assert found.dtype == wanted.dtype
        assert torch.equal(found.load(), wanted)


def test_whole_numbers_are_not_cast_and_overflow_is_refused() -> None:
    assert lazy(torch.arange(3)).cast(torch.float16).dtype == torch.int64
    with pytest.raises(InputError, match=r"value has values outside the range of torch\.float16; give --dtype source or float32"):
        lazy(torch.tensor([1e6])).cast(torch.float16).load()


def test_a_torn_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({"w": torch.zeros(100)}, path)
    whole = path.read_bytes()
    other = "not a safetensors file"
    for piece, said in ((whole[:-1], "is incomplete"), (whole[:20], other), (b"", other), (b"PK" * 50, other)):
        path.write_bytes(piece)
        with pytest.raises(InputError, match=said):
            header(path)


def test_a_failure_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    wrong = LazyTensor("w", torch.float32, (2,), lambda: torch.zeros(3))
    with pytest.raises(ValueError, match="announced"):
        write_lazy(tmp_path / "file.safetensors", {"w": wrong}, {})
    assert not list(tmp_path.iterdir())
