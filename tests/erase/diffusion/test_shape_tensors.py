"""Tensors without content take the memory that torch's own fake tensors take, and the shapes of real ones."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from erase.diffusion.shape_tensors import ShapesOnly, ShapeTensor


class Block(nn.Module):
    """Layers of a UNet, views and in-place operations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.wide = nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Linear(8, 24)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        x = F.silu(self.norm(self.conv(images)), inplace=True)
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.wide(tokens).chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return torch.cat([out, tokens * self.scale], dim=-1).add_(torch.arange(16))


class Reference(TorchDispatchMode):
    """The peak of the storages that operations allocate, counted outside of FakeTensorMode."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (key := (storage := tensor.untyped_storage())._cdata) not in self.sizes:
                self.sizes[key] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, key)
                self.peak = max(self.peak, sum(self.sizes.values()))
        return out


def passed(block: nn.Module, images: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out: Tensor = block(images)
    out.float().square().mean().backward()
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_takes_the_memory_that_fake_tensors_take(dtype: torch.dtype) -> None:
    with FakeTensorMode():
        fake, images = Block(), torch.randn(3, 4, 6, 6)
        with Reference([*fake.parameters(), *fake.buffers()]) as reference:
            passed(fake, images, dtype)
    with ShapesOnly() as shapes:
        block, images = Block(), torch.randn(3, 4, 6, 6)
        peak = shapes.peak([block], lambda: passed(block, images, dtype))
    assert peak == reference.peak > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_and_dtypes_are_those_of_real_tensors(dtype: torch.dtype) -> None:
    block = Block()
    real = passed(block, torch.randn(3, 4, 6, 6), dtype)
    with ShapesOnly():
        shapes = Block()
        out = passed(shapes, torch.randn(3, 4, 6, 6), dtype)
    assert isinstance(out, ShapeTensor)
    assert (out.shape, out.dtype, out.device) == (real.shape, real.dtype, real.device)
    for name, weight in block.named_parameters():
        other = shapes.get_parameter(name)
        assert isinstance(other, ShapeTensor)
        assert weight.grad is not None
        assert other.grad is not None
        assert (other.grad.shape, other.grad.dtype) == (weight.grad.shape, weight.grad.dtype)


def test_outside_nothing_is_done_with_them() -> None:
    with ShapesOnly():
        tensor = torch.zeros(2)
    with pytest.raises(RuntimeError, match="outside of ShapesOnly"):
        tensor + 1
