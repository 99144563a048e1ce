"""Micro-batches: splitting a batch so that it fits into memory, without changing the gradient of the whole batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from erase.task import Batch

T = TypeVar("T")


def count(batch: Batch) -> int:
    """Number of examples in a batch; 1 for an empty batch, because a loss may need no examples."""
    return len(next(iter(batch.values()), (0,)))


def pieces(batch: Batch, size: int) -> Iterator[tuple[float, Batch]]:
    """Split a batch into pieces of at most `size` examples, each with its share of the whole batch."""
    n = count(batch)
    for start in range(0, n, size):
        piece = batch if size >= n else {name: tensor[start : start + size] for name, tensor in batch.items()}
        yield min(size, n - start) / n, piece


def out_of_memory(error: BaseException) -> bool:
    """Whether the error means that a device is out of memory; each kind of device reports it differently."""
    message = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in message or "out of memory" in message)
    )


def fitting(
    work: Callable[[int], T], size: int, average: Callable[[Sequence[Tensor]], None] = lambda tensors: None, device: str = "cpu"
) -> tuple[T, int]:
    """(work(size), size); if memory runs out, in this process or another, with half the size, and so on down to 1.

    `work` must leave no state behind when it fails. The error at size 1 is raised.
    """
    while True:
        result, error = None, None
        try:
            result = work(size)
        except (RuntimeError, MemoryError) as raised:
            if not out_of_memory(raised):
                raise
            error = raised.with_traceback(None)  # the frames of its traceback would keep the tensors that did not fit
        failed = torch.tensor([float(error is not None)], device=device)
        average([failed])
        if not failed.item():
            return result, size  # type: ignore[return-value]
        if size == 1:
            raise error or MemoryError("another process is out of memory")
        result, size = None, (size + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
