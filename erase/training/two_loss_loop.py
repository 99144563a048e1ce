"""The training loop of the other methods for diffusion: two losses, their gradients, and how a method puts them together.

`erase.repair` is the loop of Scissorhands; what both need is in `erase.training.optimizers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from erase.project import Projected, project
from erase.task import Batch, Batches, Loss, Step, Task
from erase.training.micro_batches import count, fitting
from erase.training.optimizers import finite, gradient_of, make_optimizer, restore, snapshot_of


class Side(NamedTuple):
    """A loss and the batches that it is taken over."""

    loss: Loss
    batches: Batches


class Moment(NamedTuple):
    """Where a step is: its number, from 0, its forget batch, how many examples fit at once, and the unlearning loss."""

    number: int
    batch: Batch
    micro: int
    loss: Tensor


Combine = Callable[[Sequence[Tensor], Sequence[Tensor], Moment], Projected]
"""g_r and g_u -> the direction that is descended; may overwrite g_r."""


def weighted(forget_weight: float) -> Combine:
    """g = g_r + λ g_u, the gradient of L_r + λ U."""
    return lambda g_r, g_u, moment: project(g_r, g_u, forget_weight, enabled=False)


def tune(
    task: Task,
    steps: int,
    learning_rate: float,
    retain: Side | None,
    unlearn: Side | None,
    combine: Combine | None = None,
    *,
    optimizer: str = "adam",
    momentum: float = 0.9,
    mask: Mapping[str, Tensor] | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Descend along what `combine` makes of the two gradients; step i, from 1, sees batches i - 1.

    A side that is None has loss and gradient 0. With a `mask` only the entries where it is True move: no optimizer here moves a
    weight whose gradient was never anything but 0. Micro-batches, several processes and `snapshot` are as in `erase.repair`.

    Diverged, before anything is changed, when a loss or gradient is not finite.
    """
    combine = combine or weighted(1.0)
    network, weights = task.network, list(task.weights.values())
    update = make_optimizer(optimizer, weights, learning_rate, momentum)
    done, micro = restore(network, task.weights, update, resume) if resume else (0, 0)
    micro = micro or task.micro_batch or 0

    def snapshot() -> dict[str, Tensor]:
        return snapshot_of(network, task.weights, update, done, micro)

    for i in range(done + 1, steps + 1):
        start = time.perf_counter()
        kept, forgotten = (side.batches(i - 1) if side else {} for side in (retain, unlearn))
        size = micro or max(count(kept), count(forgotten))
        passes = partial(_passes, task, retain, unlearn, kept, forgotten)
        (L_r, g_r, U, g_u), fit = fitting(passes, size, task.average, str(weights[0].device))
        micro = fit if fit < size else micro
        task.average([L_r, U, *g_r, *g_u])

        g, dot, norm_r, norm_u, c = combine(g_r, g_u, Moment(i - 1, forgotten, fit, U))

        lost, added, product, long_r, long_u, coefficient = finite(i, (L_r, U, dot, norm_r, norm_u, c))

        for (name, weight), direction in zip(task.weights.items(), g, strict=True):
            weight.grad = direction if mask is None else direction.mul_(mask[name])
        update.step()
        update.zero_grad(set_to_none=True)
        done = i
        cosine = product / (long_r * long_u) if long_r * long_u else 0.0
        yield Step(i, lost, added, cosine, coefficient, False, time.perf_counter() - start, fit, snapshot)


def _passes(
    task: Task, retain: Side | None, unlearn: Side | None, kept: Batch, forgotten: Batch, micro: int
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    return *_side(task, retain, kept, micro), *_side(task, unlearn, forgotten, micro)


def _side(task: Task, side: Side | None, batch: Batch, micro: int) -> tuple[Tensor, list[Tensor]]:
    if side is not None:
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
