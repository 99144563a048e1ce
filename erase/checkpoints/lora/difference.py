"""What an erased model differs in from its original: layer by layer, read when needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from erase.checkpoints.folder import edited_part, weight_files
from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors
from erase.errors import InputError


@dataclass(frozen=True)
class Change:
    """A weight before and after. Nothing is read until it is asked for."""

    before: LazyTensor
    after: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.before.shape

    def difference(self) -> Tensor:
        """after - before, float32. InputError for values that are not finite."""
        difference = self.after.load().float() - self.before.load().float()
        if not torch.isfinite(difference).all():
            raise InputError(f"{self.before.name} has values that are not finite; give another model")
        return difference


def part_tensors(folder: Path) -> dict[str, LazyTensor]:
    """The tensors of a folder's edited part, not read yet."""
    files = [path for path in weight_files(edited_part(folder)).values() if path.suffix == ".safetensors"]
    return {name: tensor for path in files for name, tensor in lazy_tensors(path).items()}


def changes(original: Path, erased: Path, trained: Path | None = None) -> dict[str, Change]:
    """Weight -> its change, of every weight that differs.

    `trained`: a run's weights in float32, which take the place of the erased model's. InputError for a model of another architecture.
    """
    before, after = part_tensors(original), part_tensors(erased)
    names: Iterable[str] = sorted(before.keys() & after.keys())
    if trained is not None:
        exact = lazy_tensors(trained)
        names, after = sorted(exact.keys() & before.keys()), {**after, **exact}
    _check_same_network(before, after, original, erased)
    pairs = {name: Change(before[name], after[name]) for name in names}
    return {name: pair for name, pair in pairs.items() if not _equal(pair)}


def _check_same_network(before: Mapping[str, LazyTensor], after: Mapping[str, LazyTensor], original: Path, erased: Path) -> None:
    if odd := sorted(before.keys() ^ after.keys()):
        raise InputError(f"{erased} is not made from {original}: only one of them has {odd[0]}; give the model before with --original")
    for name, tensor in before.items():
        if after[name].shape != tensor.shape:
            problem = f"{name} is {after[name].shape} there and {tensor.shape} here"
            raise InputError(f"{erased} is not made from {original}: {problem}; give the model before with --original")


def _equal(pair: Change) -> bool:
    before, after = pair.before.load(), pair.after.load()
    return torch.equal(before, after) if before.dtype == after.dtype else torch.equal(before.float(), after.float())


def exact_difference(before: Tensor, after: Tensor) -> tuple[Tensor, int]:
    """d in float32 with before + d = after to the bit, as programs add it: in float32, then in the dtype of the weights.

    Also the number of entries for which no such d exists: where a value shrinks by more than what float32 resolves beside it.
    """
    first, last = before.float(), after.float()
    difference = last - first
    for _ in range(2):
        wrong = (first + difference).to(after.dtype) != after
        if not wrong.any():
            return difference, 0
        towards = torch.where(first + difference < last, torch.inf, -torch.inf)
        difference = torch.where(wrong, torch.nextafter(difference, towards), difference)
    return difference, int(((first + difference).to(after.dtype) != after).sum())
