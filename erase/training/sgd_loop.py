"""The training loop of the classifier methods: one optimizer that descends the sum of two losses. Scissorhands uses `erase.repair`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from erase.errors import Diverged
from erase.task import Step, Task
from erase.training.optimizers import OptimizerConfig, make_optimizer, set_rate
from erase.training.state import TrainingState, buffers_restored_on_error

Objective = Callable[[int], tuple[Tensor, Tensor]]
"""Step number, counted from 0 -> the losses on retain and on forget data, whose sum descends."""


def descend(
    task: Task,
    objective: Objective,
    steps: int,
    *,
    method: str,
    optimizer: OptimizerConfig,
    mask: Mapping[str, Tensor] | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Descend the sum of an objective's two losses in `task.weights`; a Step after each optimizer step.

    With a `mask` only the entries where it is True change: weight decay and momentum are masked too. Modules stay in the mode they
    are in. Resumed from a step's `snapshot`, training continues bit for bit, whatever the state of the network was before.
    Raises Diverged, with the `method`'s name and the network unchanged, when a loss or gradient is not finite.
    """
    # With a mask, weight decay is added to the gradient by hand, so that it can be masked.
    decay = optimizer.weight_decay
    update = make_optimizer(optimizer if mask is None else replace(optimizer, weight_decay=0.0), task.weights)
    state = TrainingState(task.network, task.weights, update)
    if resume:
        state.load_state_dict(resume)

    for i in range(state.step + 1, steps + 1):
        start = time.perf_counter()
        with buffers_restored_on_error(task.network):
            with torch.enable_grad():
                retain_loss, unlearn_loss = objective(i - 1)
                total = retain_loss + unlearn_loss
                gradient = torch.autograd.grad(total, list(task.weights.values()), allow_unused=True, materialize_grads=True)
            norm = torch.stack(torch._foreach_norm(gradient)).norm()
            retain_value, unlearn_value, norm_value = torch.stack([x.detach().to(norm) for x in (retain_loss, unlearn_loss, norm)]).tolist()
            if not math.isfinite(retain_value + unlearn_value + norm_value):
                raise Diverged(i, f"the {'gradient' if math.isfinite(retain_value + unlearn_value) else 'loss'} of {method}")

        for (name, weight), g in zip(task.weights.items(), gradient, strict=True):
            weight.grad = g if mask is None else (g + decay * weight.detach()).mul_(mask[name])
        set_rate(update, optimizer.rate_at(i, steps))
        update.step()
        update.zero_grad(set_to_none=True)
        state.step = i
        yield Step.plain(i, retain_value, unlearn_value, time.perf_counter() - start, snapshot=state.state_dict)


def retain_only(task: Task) -> Objective:
    """The training loss on retain batches; no loss on forget data."""

    def objective(i: int) -> tuple[Tensor, Tensor]:
        loss = task.loss(task.network, task.retain(i))
        return loss, torch.zeros_like(loss)

    return objective


def forget_only(loss: Callable[[int], Tensor]) -> Objective:
    """An unlearning loss, by step number; no loss on retain data."""

    def objective(i: int) -> tuple[Tensor, Tensor]:
        value = loss(i)
        return torch.zeros_like(value), value

    return objective
