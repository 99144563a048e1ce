"""Tensors without content: operations on them compute shapes and strides alone, and the memory that they would take is counted.

A shape tensor claims to be on the CPU, so that layers, autocast and autograd take the same ways as there, and wraps a tensor of torch's
`meta` device, on which the operation runs. torch's FakeTensorMode does this and much more, and loads torch's compiler for it (seconds).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU, META = torch.device("cpu"), torch.device("meta")
FILLING = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default, torch.ops.aten.fill_.Scalar, torch.ops.aten.zero_.default}


class ShapeTensor(Tensor):
    """A tensor that has a shape, strides and a dtype, but no elements."""

    on_meta: Tensor

    @staticmethod
    def __new__(cls, on_meta: Tensor) -> ShapeTensor:
        shape, offset = on_meta.shape, on_meta.storage_offset()
        tensor: ShapeTensor = Tensor._make_wrapper_subclass(
            cls, shape, strides=on_meta.stride(), storage_offset=offset, dtype=on_meta.dtype, device=CPU
        )
        tensor.on_meta = on_meta
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{function} on a shape tensor outside of ShapesOnly")


class ShapesOnly(TorchDispatchMode):
    """Within, every tensor that is created is a shape tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: Storages | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do not wrap `__torch_dispatch__` for torch's compiler, which would be imported for that."""
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.storages is None and function in FILLING:  # how weights begin makes no difference
            return args[0]
        known: dict[int, ShapeTensor] = {}  # in-place operations return the tensor that they were given
        inside = [_inner(value, known) for value in args]
        options = {name: _inner(value, known) for name, value in kwargs.items()} if kwargs else {}
        if _has_device(function):
            options["device"] = META
        out = function(*inside, **options)
        if self.storages is not None:
            self.storages.add(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return _outer(out, known)

    def peak(self, networks: list[nn.Module], work: Callable[[], object]) -> int:
        """Peak memory of `work` beside the networks' own weights, in bytes."""
        self.storages = storages = Storages()
        try:
            own = [tensor for network in networks for tensor in [*network.parameters(), *network.buffers()]]
            storages.add((tensor.on_meta for tensor in own if isinstance(tensor, ShapeTensor)), own=False)
            work()
            return storages.peak
        finally:
            self.storages = None


def _inner(value: Any, known: dict[int, ShapeTensor]) -> Any:
    """An argument on the meta device. `known` collects the shape tensors by the id of what they wrap. (No closure: one that calls itself
    is a cycle, which would keep the tensors until a garbage collection.)
    """
    if isinstance(value, ShapeTensor):
        known[id(value.on_meta)] = value
        return value.on_meta
    if isinstance(value, Tensor):
        return value.to(META)
    return [_inner(part, known) for part in value] if isinstance(value, list | tuple) else value


def _outer(value: Any, known: dict[int, ShapeTensor]) -> Any:
    """A result as shape tensors."""
    if isinstance(value, Tensor):
        return known[id(value)] if id(value) in known else ShapeTensor(value)
    return type(value)(_outer(part, known) for part in value) if isinstance(value, list | tuple) else value


@cache
def _has_device(function: Any) -> bool:
    """Whether an operation takes a device, as those do that create tensors."""
    return any(argument.name == "device" for argument in function._schema.arguments)


class Storages:
    """Bytes of all storages that operations have allocated and not freed, now and at the peak."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self.sizes: dict[int, int] = {}

    def add(self, tensors: Iterable[Tensor], own: bool = True) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self.sizes:
                continue
            self.sizes[key] = storage.nbytes() if own else 0
            self.now += self.sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)
