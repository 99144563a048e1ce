"""The repair loop: restore the trimmed network on retain batches without undoing the forgetting (Eqs. 3 to 5 of the paper)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from erase.project import Projection, project, project_update
from erase.task import B, Step, Task
from erase.training.guard import Guard
from erase.training.optimizers import OptimizerConfig, gradient_of, make_optimizer, set_rate
from erase.training.state import TrainingState, buffers_restored_on_error
from erase.training.step_numbers import StepNumbers

Moved = Callable[[int, int], AbstractContextManager[None]]
"""Number of a forget batch, micro-batch size -> a context in which the weights are where the unlearning gradient is taken."""


def repair(
    task: Task[B],
    steps: int,
    *,
    optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 (frozen)
    forget_weight: float = 1.0,
    projection: Projection = Projection(),  # noqa: B008 (frozen)
    guard: Guard | None = None,
    moved: Moved | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Minimise L_r + λ U under <g, g_u> >= 0 (Eqs. 3 to 5), with two backward passes and one copy to the host per step.

    λ is `forget_weight`. Step i, counted from 1, uses forget and retain batches i - 1. Modules stay in the mode in which the task has
    them. A step's `snapshot` returns the state at the time it is called; resumed from it, repair continues bit for bit.

    `task.micro_batch` examples go through the network at once, by default all of a batch. The gradient is that of the whole
    batch either way, up to rounding (except for batch norms in training mode, which see the micro-batches). When the device runs out
    of memory, the step is repeated with half as many, and later steps keep that size.

    With the projection target "update", a step's `coefficient` is the c with which plain gradient descent would have taken the same
    step (approximately, where learning rates differ between weights), and a step needs one more copy of the weights and one more
    copy to the host. A `guard`, started before the network was changed, evaluates held-out batches after each step; it may restore
    an earlier state and lower the learning rate, and it ends repair when it has stopped. `moved` gives, for each forget batch, a
    context that moves the weights to where g_u is taken, and restores them.

    Raises Diverged, with the network unchanged, when a loss or gradient is not finite; and after a step whose held-out retain loss is
    not finite, if the guard has no earlier state to restore.
    """
    weights = list(task.weights.values())
    update = make_optimizer(optimizer, task.weights)
    state = TrainingState.of(task, update)
    if resume:
        state.load_state_dict(resume)
    if guard and resume:
        guard.load_state_dict(resume)

    def snapshot() -> dict[str, Tensor]:
        return state.state_dict() | (guard.state_dict() if guard else {})

    for i in range(state.step + 1, steps + 1):
        if guard and guard.stopped:
            return
        start = time.perf_counter()
        forget, retain = task.forget(i - 1), task.retain(i - 1)
        with buffers_restored_on_error(task.network) as reset:
            passes = partial(_gradients, task, forget, retain, reset, partial(moved, i - 1) if moved else _in_place)
            (U, g_u, L_r, g_r), fitted = state.fit(passes, (forget, retain), task.average)
            task.average([U, L_r, *g_u, *g_r])
            g = project(g_r, g_u, forget_weight, projection)
            numbers = StepNumbers.read(i, L_r, U, g)

        rate = optimizer.rate_at(i, steps) * (guard.rate if guard else 1.0)
        removed = _take_step(update, rate, weights, g.gradient, g_u, projection)
        state.step = i
        held_out = guard.after(state, steps) if guard else {}

        numbers = numbers._replace(coefficient=numbers.coefficient + removed / rate)
        acted = numbers.coefficient > forget_weight * (1 + 1e-6)  # not c > λ: λ is rounded on devices without float64
        yield numbers.step(i, time.perf_counter() - start, fitted, snapshot, projected=acted, held_out=held_out)


def _in_place(micro: int) -> AbstractContextManager[None]:
    return nullcontext()


def _gradients(
    task: Task[B],
    forget: B,
    retain: B,
    reset_buffers: Callable[[], None],
    moved: Callable[[int], AbstractContextManager[None]],
    micro: int,
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """U, g_u, L_r and g_r, with the buffers as they were before an earlier attempt that did not fit into memory."""
    reset_buffers()
    with moved(micro):
        unlearn = gradient_of(task.unlearn, task.network, task.weights, forget, micro)
    return *unlearn, *gradient_of(task.loss, task.network, task.weights, retain, micro)


@torch.no_grad()
def _take_step(
    update: torch.optim.Optimizer,
    rate: float,
    weights: Sequence[Tensor],
    g: Sequence[Tensor],
    g_u: Sequence[Tensor],
    projection: Projection,
) -> float:
    """The optimizer's step along -g; with the target "update", project it and return v of `project_update`, else 0."""
    for weight, gradient in zip(weights, g, strict=True):
        weight.grad = gradient
    set_rate(update, rate)
    before = [weight.detach().clone() for weight in weights] if projection.target == "update" else []
    update.step()
    update.zero_grad(set_to_none=True)
    return float(project_update(weights, before, g_u, projection.per_layer)) if projection.target == "update" else 0.0
