"""Micro-batches: splitting a batch so that it fits into memory, without changing the gradient of the whole batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from erase.task import B, Batch, SplittableBatch

T = TypeVar("T")


def count(batch: Batch | SplittableBatch) -> int:
    """Examples in a batch; a mapping without tensors counts as one, for a loss may need none."""
    return len(next(iter(batch.values()), (0,))) if isinstance(batch, Mapping) else len(batch)


def pieces(batch: B, size: int) -> Iterator[tuple[float, B]]:
    """A batch in parts of at most `size` examples, each with its share of the whole."""
    n = count(batch)
    parts: Iterator[Any] = iter([batch])
    if size < n:
        parts = _split(batch, size, n) if isinstance(batch, Mapping) else cast(SplittableBatch, batch).split(size)
    for start, part in zip(range(0, n, size), parts, strict=True):
        yield min(size, n - start) / n, part


def _split(batch: Batch, size: int, n: int) -> Iterator[Batch]:
    for start in range(0, n, size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}


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
