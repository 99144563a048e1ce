"""What a repair step cannot do without: operations, bytes that must move, and how fast this device does either.

The step is gone through on tensors without content, so the count follows the network itself and takes no memory. Operations are those
of matrix products and convolutions, forward and backward, for the weights in scope; bytes are those of weights, gradients,
optimizer and of what the forward pass keeps for the backward pass, each moved once. The larger of the two times is the floor: no way
of doing this step is faster. Norms, activation functions and whatever else is not a matrix product come on top.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from host import Record, timed
from models import random_batch, trained
from torch import Tensor
from torch.nn import functional as F

from erase.diffusion import predict

FLOAT = 4


def count(build: Callable[[], Any], scope: str, batch: int, tokens: int, dtype: torch.dtype, rank: int | None = None) -> Record:
    """Operations and bytes of one step with `batch` pictures in each of its two passes; of `rank`, factors are trained."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FakeTensorMode():
        unet = build()
        weights = list(trained(unet, scope, rank).values())
        own = {tensor.untyped_storage()._cdata for tensor in unet.parameters()}
        b = random_batch(unet, "counted", batch, tokens)

        def loss() -> Tensor:
            return F.mse_loss(predict(unet, b.noisy, b.timesteps, b.prompt, dtype).float(), b.target)

        # Fused attention is not known to the counter, attention written out is; what is kept is counted with the fused one.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            loss().backward()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss()
        saved = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
    everything = sum(weight.numel() * weight.element_size() for weight in unet.parameters())
    scoped = sum(weight.numel() for weight in weights)
    # Each pass: weights read forward and backward, gradients written, what was kept written and read. Then both gradients are
    # read and one written; the update reads it, the weights and two moments, and writes these three.
    passes = 2 * (2 * everything + FLOAT * scoped + 2 * saved)
    return {"operations": 2 * counted.get_total_flops(), "bytes": passes + FLOAT * scoped * (3 + 7), "kept_bytes": saved}


def matrix_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Operations a second in a large product of random matrices; 8192 a side on a card, 1536 on the host."""
    n = side or (8192 if device.startswith("cuda") else 1536)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    times = [timed(lambda: torch.mm(a, b, out=out), device)[0] for _ in range(12)]
    return 2 * n**3 / statistics.median(times[2:])


def copy_rate(device: str, size: int | None = None) -> float:
    """Bytes a second in a large copy on the device, read and written; 4 GB on a card, 256 MB on the host."""
    n = (size or (1 << 32 if device.startswith("cuda") else 1 << 28)) // FLOAT
    a, b = torch.randn(n, device=device), torch.empty(n, device=device)
    times = [timed(lambda: b.copy_(a), device)[0] for _ in range(12)]
    return 2 * n * FLOAT / statistics.median(times[2:])


def seconds(need: Record, operations: float, moved: float) -> Record:
    """The two times, at these rates, and the floor."""
    arithmetic, traffic = need["operations"] / operations, need["bytes"] / moved
    return {"arithmetic_seconds": arithmetic, "traffic_seconds": traffic, "floor_seconds": max(arithmetic, traffic)}
