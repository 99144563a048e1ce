"""Several processes of one job, as `accelerate launch` or torchrun start them: rank, barrier, broadcast and average.

For a single process every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=7)  # one process may have much more left to do than another
BUCKET = 1 << 24  # values averaged in one message: 64 MiB of float32


def processes() -> tuple[int, int]:
    """Rank and number of processes, from the environment that the launcher sets; (0, 1) without a launcher."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@cache
def join(device: str = "cpu") -> None:
    """Connect to the other processes, if there are any; `cuda` then means this process's own card."""
    if processes()[1] > 1:
        from accelerate import PartialState

        PartialState(cpu=not device.startswith("cuda"), timeout=PATIENCE)


def wait() -> None:
    """Return when all processes have arrived here."""
    if processes()[1] > 1:
        import torch

        torch.distributed.barrier()


def agree(value: T) -> T:
    """The first process's value, in every process."""
    if processes()[1] == 1:
        return value
    import torch

    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes. All get the same bits: one sum is formed and distributed."""
    world = processes()[1]
    if world == 1:
        return
    import torch

    with torch.no_grad():
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            torch.distributed.all_reduce(flat)
            flat /= world
            for tensor, mean in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(mean.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one dtype and device in groups of at most BUCKET values: every message has a fixed cost."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        other = bucket and (bucket[0].dtype, bucket[0].device) != (tensor.dtype, tensor.device)
        if other or (bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
