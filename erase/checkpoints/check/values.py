"""The values of weights: NaN, infinity and tensors of zeros, found in the pass that hashes a file, or in a network that is loaded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.checkpoints.check.networks import NETWORKS
from erase.checkpoints.check.tensors import used_tensors
from erase.checkpoints.folder import read_provenance, weight_files
from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

PIECE = 2**24  # bytes that are read at once; a multiple of every dtype's size
UNTRAINED = "cond_proj"  # of a guidance embedding: zeros until it is trained, which changes nothing


@dataclass(frozen=True)
class Faults:
    """What is wrong with the values of a tensor: how many are NaN or infinite, or that all are zero."""

    nan: int = 0
    infinite: int = 0
    zero: bool = False

    def __add__(self, other: Faults) -> Faults:
        return Faults(self.nan + other.nan, self.infinite + other.infinite, self.zero and other.zero)

    def __bool__(self) -> bool:
        return self.nan > 0 or self.infinite > 0 or self.zero

    def __str__(self) -> str:
        infinite = "infinite value" if self.infinite == 1 else "infinite values"
        numbers = [f"{n} {kind}" for n, kind in ((self.nan, "NaN"), (self.infinite, infinite)) if n]
        return " and ".join(numbers) or "nothing but zeros"


_clean: set[tuple[str, int, int]] = set()  # weight files that this process has found in order: path, size, time of change


def digest_of_part(folder: Path, part: str) -> dict[Path, str]:
    """sha256 of each weight file of a part; InputError for a network whose values cannot be right, with part, tensor and count."""
    files = [path for path in sorted(weight_files(folder / part).values()) if path.suffix == ".safetensors"]
    if part not in NETWORKS:
        return {path: sha256(path) for path in files}
    names, erased = used_tensors(folder, part), bool(read_provenance(folder))
    digests = {}
    for path in files:
        digests[path], faults = digest_and_faults(path, names)
        if erased:  # trimming may have set a whole tensor to zero
            faults = {name: fault for name, fault in faults.items() if not fault.zero}
        refuse_faults(f"{folder}: its {part}", faults)
        _clean.add(_stamp(path))
    return digests


def check_folder_values(folder: Path, parts: tuple[str, ...] = NETWORKS) -> None:
    """InputError as from `digest_of_part`, for those of `parts` that the folder has and that were not looked at yet."""
    for part in parts:
        if (folder / part).is_dir() and not is_clean(folder, part):
            digest_of_part(folder, part)


def is_clean(folder: Path, part: str) -> bool:
    """Whether this process has found all weight files of a part in order, as they are now."""
    return all(_stamp(path) in _clean for path in weight_files(folder / part).values() if path.suffix == ".safetensors")


def check_loaded(folder: Path, part: str, network: nn.Module) -> None:
    """InputError where a network, fresh from its files, has values that are not finite."""
    if is_clean(folder, part):
        return
    faults = {name: fault for name, value in network.named_parameters() if (fault := faults_of(value.detach())) and not fault.zero}
    if faults:
        digest_of_part(folder, part)  # names what is wrong with the files themselves
        name, dtype = next(iter(faults)), str(next(network.parameters()).dtype).removeprefix("torch.")
        problem = f"{folder}: its {part} has values in {name} that are outside the range of {dtype}"
        raise InputError(f"{problem}; give --dtype bfloat16 or float32", option="dtype")


def refuse_faults(label: str, faults: Mapping[str, Faults]) -> None:
    """InputError that names the first tensor with faults."""
    if faults:
        name, fault = next(iter(faults.items()))
        more = f" (and {len(faults) - 1} other tensors are not in order)" if len(faults) > 1 else ""
        raise InputError(f"{label} has {fault} in {name}{more}; download the model again, or give another")


def digest_and_faults(path: Path, names: Container[str] | None = None) -> tuple[str, dict[str, Faults]]:
    """sha256 of a safetensors file, and what is wrong with which of its tensors (of `names`, or all), in one pass."""
    entries, start = header(path)
    entries.pop("__metadata__", None)
    digest, faults = hashlib.sha256(), {}
    buffer = bytearray(PIECE)
    with path.open("rb") as file:

        def pieces(size: int) -> Any:
            while size > 0:
                length = file.readinto(memoryview(buffer)[: min(size, PIECE)])
                if not length:
                    raise InputError(f"{path} ends before the tensors that its header announces; download it again")
                digest.update(memoryview(buffer)[:length])
                size -= length
                yield length

        for _ in pieces(start):
            pass
        for name, entry in sorted(entries.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            first, last = entry["data_offsets"]
            looked_at = names is None or name in names
            fault = None
            for length in pieces(last - first):
                if looked_at and (values := _values(buffer, length, entry["dtype"])) is not None:
                    fault = faults_of(values) if fault is None else fault + faults_of(values)
            if fault and (fault.nan or fault.infinite or _weighs(name, entry["shape"])):
                faults[name] = fault
    return digest.hexdigest(), faults


def faults_of(values: Tensor) -> Faults:
    """The faults of floating-point values, from their extremes: a NaN is one of them wherever it stands."""
    if not values.numel():
        return Faults()
    low, high = (float(extreme) for extreme in values.aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return Faults(zero=low == high == 0)
    return Faults(int(values.isnan().sum()), int(values.isinf().sum()))


def _values(buffer: bytearray, length: int, dtype: str) -> Tensor | None:
    """The values of a piece; None where they are not floating-point numbers."""
    import torch

    kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    kind = kinds.get(dtype)
    return None if kind is None else torch.frombuffer(buffer, dtype=kind, count=length // kind.itemsize)


def _weighs(name: str, shape: list[int]) -> bool:
    """Whether a tensor of zeros cannot be what was trained: a matrix or a kernel, not a bias or a scale."""
    return len(shape) > 1 and math.prod(shape) > 1 and UNTRAINED not in name


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns
