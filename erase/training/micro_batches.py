"""Batches in pieces: what goes through the network at once is a question of memory, what a step learns from is not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from erase.task import Batch

T = TypeVar("T")


def count(batch: Batch) -> int:
    """Examples in a batch; an empty one counts as one, for a loss may need none."""
    return len(next(iter(batch.values()), (0,)))


def pieces(batch: Batch, size: int) -> Iterator[tuple[float, Batch]]:
    """A batch in pieces of at most `size` examples, each with its share of the whole."""
    n = count(batch)
    for start in range(0, n, size):
        piece = batch if size >= n else {name: tensor[start : start + size] for name, tensor in batch.items()}
        yield min(size, n - start) / n, piece


def out_of_memory(error: BaseException) -> bool:
    """Whether this is a device that has no memory left; each kind of device says so in its own way."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "out of memory" in said)
    )


def fitting(
    work: Callable[[int], T], size: int, average: Callable[[Sequence[Tensor]], None] = lambda tensors: None, device: str = "cpu"
) -> tuple[T, int]:
    """work(size); where memory runs out, in this process or another, work of half the size, and so on down to 1. And the size that fit.

    `work` must leave nothing behind when it fails. The error of a size of 1 goes on to the caller.
    """
    while True:
        made, error = None, None
        try:
            made = work(size)
        except (RuntimeError, MemoryError) as raised:
            if not out_of_memory(raised):
                raise
            error = raised.with_traceback(None)  # its frames hold on to what did not fit
        failed = torch.tensor([float(error is not None)], device=device)
        average([failed])
        if not failed.item():
            return made, size  # type: ignore[return-value]
        if size == 1:
            raise error or MemoryError("another process is out of memory")
        made, size = None, (size + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
