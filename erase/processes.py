"""Several processes of one job, as `accelerate launch` or torchrun start them: rank, barrier, broadcast and average.

For a single process every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from erase.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

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


# --- a network over several devices ---------------------------------------------------------------------------------


def sharding() -> bool:
    """Whether the launcher asks for FSDP2: `accelerate launch --use_fsdp --fsdp_version 2`. InputError for its first version."""
    if processes()[1] == 1 or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("FSDP of version 1 makes one flat tensor of many weights; give accelerate launch --fsdp_version 2")
    return True


def shard(network: Any, whole: Mapping[str, nn.Module], device: str) -> None:
    """Spread the weights of a network over the processes, block by block, except those of the modules `whole`, by accelerate's FSDP2.

    A block is gathered when it computes. The weights that are not whole must be frozen. InputError where all are whole.
    """
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin, fsdp2_prepare_model

    kept = {id(weight) for module in whole.values() for weight in module.parameters()}
    if all(id(weight) in kept for weight in network.parameters()):
        problem = "--use_fsdp spreads the weights that are neither trained nor scored, and --scope leaves none"
        raise InputError(f"{problem}; give a smaller --scope, or --lora-rank with --no-trimming", option="scope")
    kinds = {type(module).__name__ for module in network.modules()}
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[name for name in network._no_split_modules or () if name in kinds],
        ignored_modules=list(whole.values()),
        cpu_ram_efficient_loading=False,
    )
    engine = Accelerator(cpu=not device.startswith("cuda"), fsdp_plugin=plugin, mixed_precision="no")
    engine.state.fsdp_plugin = plugin  # which accelerate itself does on accelerators only; the engine works on the CPU, too
    for module in whole.values():
        module.to(engine.device)
    fsdp2_prepare_model(engine, network)


def gathered(weight: Tensor) -> Tensor:
    """A weight as a whole; where it is spread over the processes, all of them must call this."""
    from torch.distributed.tensor import DTensor

    return weight.full_tensor() if isinstance(weight, DTensor) else weight
