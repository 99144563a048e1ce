"""Several processes at one job, as `accelerate launch` or torchrun start them: who am I, wait, agree, average.

Everything here is the identity for a single process. Knows tensors, no task.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor

PATIENCE = timedelta(days=7)  # one process may have much more left to do than another
BUCKET = 1 << 24  # values averaged in one message: 64 MiB of float32


def processes() -> tuple[int, int]:
    """Which of how many processes this is, from the environment that the launcher sets; one of one without a launcher."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@cache
def join(device: str = "cpu") -> None:
    """Meet the other processes, where there are any; `cuda` then is this process's own card."""
    if processes()[1] > 1:
        from accelerate import PartialState

        PartialState(cpu=not device.startswith("cuda"), timeout=PATIENCE)


def wait() -> None:
    """Go on when all are here."""
    if processes()[1] > 1:
        torch.distributed.barrier()


def agree(value: Any) -> Any:
    """What the first process says, in every process."""
    if processes()[1] == 1:
        return value
    said = [value]
    torch.distributed.broadcast_object_list(said)
    return said[0]


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes. All get the same bits, for one sum is formed and handed out."""
    world = processes()[1]
    if world == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        torch.distributed.all_reduce(flat)
        flat /= world
        for tensor, mean in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one kind in groups: a message has its price whatever it carries."""
    held: list[Tensor] = []
    for tensor in tensors:
        other = held and (held[0].dtype, held[0].device) != (tensor.dtype, tensor.device)
        if other or (held and sum(t.numel() for t in held) + tensor.numel() > BUCKET):
            yield held
            held = []
        held.append(tensor)
    if held:
        yield held
