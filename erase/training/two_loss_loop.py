"""The training loop of most diffusion methods: two losses, their gradients, and how a method combines them.

Scissorhands uses `erase.repair` instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import torch
from torch import Tensor

from erase.errors import InputError
from erase.project import Projected, Projection, project
from erase.task import B, Batches, Loss, Step, Task
from erase.training.optimizers import OptimizerConfig, gradient_of, make_optimizer, set_rate
from erase.training.state import TrainingState, buffers_restored_on_error
from erase.training.step_numbers import StepNumbers


@dataclass(frozen=True)
class Side(Generic[B]):
    """A loss, and the batches over which it is taken."""

    loss: Loss[B]
    batches: Batches[B]


@dataclass(frozen=True)
class Moment(Generic[B]):
    """The state of a step: its number, from 0, its forget batch, the micro-batch size that fits, and the unlearning loss."""

    number: int
    batch: B | None
    micro: int
    loss: Tensor


Combine = Callable[[Sequence[Tensor], Sequence[Tensor], Moment[B]], Projected]
"""g_r and g_u -> the direction of descent; may overwrite g_r."""


def weighted(forget_weight: float) -> Combine[Any]:
    """g = g_r + λ g_u, the gradient of L_r + λ U."""
    return lambda g_r, g_u, moment: project(g_r, g_u, forget_weight, Projection("none"))


def tune(
    task: Task[B],
    steps: int,
    retain: Side[B] | None,
    unlearn: Side[B] | None,
    combine: Combine[B] | None = None,
    *,
    optimizer: OptimizerConfig,
    mask: Mapping[str, Tensor] | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Descend along the combination of the two gradients; step i, counted from 1, uses batches i - 1.

    A side that is None has loss and gradient 0. With a `mask` only the entries where it is True change: none of the optimizers
    changes a weight whose gradient has always been 0. Micro-batches, several processes and `snapshot` are as in `erase.repair`.

    Raises Diverged, with the network unchanged, when a loss or gradient is not finite.
    """
    combine = combine or weighted(1.0)
    if mask is not None and task.base:
        raise InputError("a mask of single weights has no counterpart in low-rank factors; leave --lora-rank out", option="lora_rank")
    update = make_optimizer(optimizer, task.weights)
    state = TrainingState.of(task, update)
    if resume:
        state.load_state_dict(resume)

    for i in range(state.step + 1, steps + 1):
        start = time.perf_counter()
        retain_batch, forget_batch = (side.batches(i - 1) if side else None for side in (retain, unlearn))
        with buffers_restored_on_error(task.network) as reset:
            passes = partial(_passes, task, retain, unlearn, retain_batch, forget_batch, reset)
            batches = [batch for batch in (retain_batch, forget_batch) if batch is not None]
            (L_r, g_r, U, g_u), fitted = state.fit(passes, batches, task.average)
            task.average([L_r, U, *g_r, *g_u])
            g = combine(g_r, g_u, Moment(i - 1, forget_batch, fitted, U))
            numbers = StepNumbers.read(i, L_r, U, g)

        for (name, weight), direction in zip(task.weights.items(), g.gradient, strict=True):
            weight.grad = direction if mask is None else direction.mul_(mask[name])
        set_rate(update, optimizer.rate_at(i, steps))
        update.step()
        update.zero_grad(set_to_none=True)
        state.step = i
        yield numbers.step(i, time.perf_counter() - start, fitted, state.state_dict)


def _passes(
    task: Task[B],
    retain: Side[B] | None,
    unlearn: Side[B] | None,
    retain_batch: B | None,
    forget_batch: B | None,
    reset_buffers: Callable[[], None],
    micro: int,
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Losses and gradients, with the buffers as they were before an earlier attempt that did not fit into memory."""
    reset_buffers()
    return *_side(task, retain, retain_batch, micro), *_side(task, unlearn, forget_batch, micro)


def _side(task: Task[B], side: Side[B] | None, batch: B | None, micro: int) -> tuple[Tensor, list[Tensor]]:
    if side is not None and batch is not None:
        return gradient_of(side.loss, task.network, task.weights, batch, micro)
    weights = list(task.weights.values())
    return weights[0].new_zeros(()), [torch.zeros_like(weight) for weight in weights]


@torch.no_grad()
def products(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """<a, b>, ||a|| and ||b|| over lists of tensors, summed in float64 where the device has it."""
    place = a[0].device
    total = torch.float32 if place.type == "mps" else torch.float64

    def inner(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.dot(p.flatten().float(), q.flatten().float()).to(place, total) for p, q in zip(x, y, strict=True)]).sum()

    return inner(a, b), inner(a, a).sqrt(), inner(b, b).sqrt()
