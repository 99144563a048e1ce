"""The repair loop: restore the trimmed network on retain batches without taking back what was forgotten."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from erase.errors import Diverged
from erase.project import project, project_update
from erase.task import Batch, Loss, Step, Task
from erase.training.guard import Guard
from erase.training.micro_batches import count, fitting
from erase.training.optimizers import finite, gradient_of, make_optimizer, put_back, restore, set_rate, snapshot_of

Moved = Callable[[int, int], AbstractContextManager[None]]
"""Number of a forget batch, micro-batch -> a context in which the weights are where forgetting is to look at them."""


def repair(
    task: Task,
    steps: int,
    optimizer: str = "adam",
    learning_rate: float = 1e-5,
    forget_weight: float = 1.0,
    *,
    projected: bool = True,
    two_sided: bool = False,
    per_layer: bool = False,
    of_update: bool = False,
    unlearn: Loss | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    cosine: bool = False,
    multiples: Mapping[str, float] | None = None,
    guard: Guard | None = None,
    moved: Moved | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Minimise L_r + λ U under <g, g_u> >= 0 (Eqs. 3 to 5), with two backward passes and one host copy a step.

    Step i, from 1, sees forget and retain batches i - 1.
    `optimizer` is adam, adamw, adafactor or sgd, and `momentum` is for the last. With `cosine` the rate falls to 0 along
    half a cosine; a weight named in `multiples` has so many times it. `unlearn` stands in for the task's own. Modules stay in
    the mode in which the task has them. A step's `snapshot` holds the state at the time it is called; with an earlier one as
    `resume` the run goes on bit for bit as if it had not stopped.

    `task.micro_batch` examples go through the network at once, all of a batch by default; the gradient is that of the whole
    batch either way, up to rounding (but for batch norms in training mode, which see the pieces). When the device runs out of
    memory, the step is tried again with half as many, and the steps after it stay there.

    `two_sided` and `per_layer` are those of `project`. With `of_update` not the gradient is projected but what the optimizer
    makes of it (`project_update`), at the price of one more copy of the weights and one more host copy; a step's `coefficient` is
    then the c that a plain step would have had. A `guard`, started before the network was changed, looks after each step, may
    put an earlier state back and lower the rate, and ends repair when it has stopped. `moved` is a context for each number of a
    forget batch, within which g_u is taken: at weights that it has moved, and puts back.

    Diverged, before anything is changed, when a loss or gradient is not finite.
    """
    network, weights, descend = task.network, list(task.weights.values()), unlearn or task.unlearn
    own = [(multiples or {}).get(name, 1.0) for name in task.weights]
    update = make_optimizer(optimizer, weights, learning_rate, momentum, weight_decay, own)
    done, micro = restore(network, task.weights, update, resume) if resume else (0, 0)
    micro = micro or task.micro_batch or 0
    moved = moved or (lambda number, micro: nullcontext())
    if guard and resume:
        guard.restore(resume)

    def state() -> dict[str, Tensor]:
        return snapshot_of(network, task.weights, update, done, micro)

    def snapshot() -> dict[str, Tensor]:
        return state() | (guard.state() if guard else {})

    for i in range(done + 1, steps + 1):
        if guard and guard.stopped:
            return
        start = time.perf_counter()
        forget, retain = task.forget(i - 1), task.retain(i - 1)
        buffers = [buffer.clone() for buffer in network.buffers()]

        passes = partial(_passes, task, descend, forget, retain, buffers, partial(moved, i - 1))
        size = micro or max(count(forget), count(retain))
        (U, g_u, L_r, g_r), fit = fitting(passes, size, task.average, str(weights[0].device))
        micro = fit if fit < size else micro  # batches may differ in size: only a bound that was met is one
        task.average([U, L_r, *g_u, *g_r])

        g, dot, norm_r, norm_u, c = project(g_r, g_u, forget_weight, projected and not of_update, two_sided, per_layer)
        try:
            numbers = finite(i, (L_r, U, dot, norm_r, norm_u, c))
        except Diverged:
            put_back(network, buffers)  # batch norms in training mode have already seen the batch
            raise

        rate = learning_rate * (_half_cosine(i, steps) if cosine else 1.0) * (guard.rate if guard else 1.0)
        numbers[-1] += _take_step(update, weights, g, rate, g_u if of_update and projected else None, per_layer)
        done = i
        seen = guard.after(i, steps, micro, state, partial(restore, network, task.weights, update)) if guard else {}
        yield _step(i, numbers, forget_weight, start, fit, snapshot, seen)


def _half_cosine(i: int, steps: int) -> float:
    """From 1 at step 1 towards 0 after the last."""
    return 0.5 * (1 + math.cos(math.pi * (i - 1) / steps))


@torch.no_grad()
def _take_step(
    update: torch.optim.Optimizer,
    weights: Sequence[Tensor],
    g: Sequence[Tensor],
    rate: float,
    g_u: Sequence[Tensor] | None,
    per_layer: bool,
) -> float:
    """The optimizer's step from the gradient g; given g_u, without its part along g_u if that would raise U. How much that was, by rate."""
    for weight, gradient in zip(weights, g, strict=True):
        weight.grad = gradient
    set_rate(update, rate)
    before = [weight.detach().clone() for weight in weights] if g_u is not None else []
    update.step()
    update.zero_grad(set_to_none=True)
    return float(project_update(weights, before, g_u, per_layer)) / rate if g_u is not None else 0.0


def _passes(
    task: Task,
    descend: Loss,
    forget: Batch,
    retain: Batch,
    buffers: Sequence[Tensor],
    moved: Callable[[int], AbstractContextManager[None]],
    micro: int,
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """U, g_u, L_r and g_r; `buffers` are those before the step, which a pass that did not fit may have changed."""
    put_back(task.network, buffers)
    network, weights = task.network, task.weights
    with moved(micro):
        forgetting = gradient_of(descend, network, weights, forget, micro)
    return *forgetting, *gradient_of(task.loss, network, weights, retain, micro)


def _step(
    i: int,
    numbers: list[float],
    forget_weight: float,
    start: float,
    micro: int,
    snapshot: Callable[[], dict[str, Tensor]],
    held_out: Mapping[str, Any],
) -> Step:
    """The step in plain numbers."""
    retain_loss, unlearn_loss, dot, norm_r, norm_u, coefficient = numbers
    lengths = norm_r * norm_u
    # A hair above λ, because λ itself is rounded on devices without float64.
    acted = coefficient > forget_weight * (1 + 1e-6)
    cosine = dot / lengths if lengths else 0.0
    return Step(i, retain_loss, unlearn_loss, cosine, coefficient, acted, time.perf_counter() - start, micro, snapshot, held_out)
