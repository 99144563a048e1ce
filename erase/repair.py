"""The repair loop: restore the trimmed network on retain batches without taking back what was forgotten."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from erase.guard import Guard
from erase.micro import count, fitting, pieces
from erase.project import project, project_update
from erase.task import Batch, Diverged, InputError, Loss, Step, Task

# optimizer -> bytes a weight of its state, and of what it holds for a moment while it updates all weights at once.
STATE_BYTES = {"adam": (8, 4), "adamw": (8, 4), "adafactor": (1, 0), "sgd": (4, 4)}

_NUMBERS = ("retain loss", "unlearn loss", "product of the gradients", "retain gradient", "unlearn gradient", "coefficient")


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
    guard: Guard | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Minimise L_r + λ U under <g, g_u> >= 0 (Eqs. 3 to 5), with two backward passes and one host copy a step.

    Step i, from 1, sees forget and retain batches i - 1.
    `optimizer` is adam, adamw, adafactor or sgd, and `momentum` is for the last. With `cosine` the rate falls to 0 along
    half a cosine. `unlearn` stands in for the task's own. Modules stay in the mode in which the task has them. A step's
    `snapshot` holds the state at the time it is called; with an earlier one as `resume` the run goes on bit for bit as if
    it had not stopped.

    `task.micro_batch` examples go through the network at once, all of a batch by default; the gradient is that of the whole
    batch either way, up to rounding (but for batch norms in training mode, which see the pieces). When the device runs out of
    memory, the step is tried again with half as many, and the steps after it stay there.

    Diverged, before anything is changed, when a loss or gradient is not finite.
    """
    network, weights, descend = task.network, list(task.weights.values()), unlearn or task.unlearn
    update = _optimizer(optimizer, weights, learning_rate, momentum, weight_decay)
    done, micro = _restore(task, update, resume) if resume else (0, 0)
    micro = micro or task.micro_batch or 0
    if guard and resume:
        guard.restore(resume)

    def state() -> dict[str, Tensor]:
        return _snapshot(task, update, done, micro)

    def snapshot() -> dict[str, Tensor]:
        return state() | (guard.state() if guard else {})

    for i in range(done + 1, steps + 1):
        if guard and guard.stopped:
            return
        start = time.perf_counter()
        forget, retain = task.forget(i - 1), task.retain(i - 1)
        buffers = [buffer.clone() for buffer in network.buffers()]

        passes = partial(_passes, task, descend, forget, retain, buffers)
        size = micro or max(count(forget), count(retain))
        (U, g_u, L_r, g_r), fit = fitting(passes, size, task.average, str(weights[0].device))
        micro = fit if fit < size else micro  # batches may differ in size: only a bound that was met is one
        task.average([U, L_r, *g_u, *g_r])

        g, dot, norm_r, norm_u, c = project(g_r, g_u, forget_weight, projected and not of_update, two_sided, per_layer)

        numbers = torch.stack([x.to(dot) for x in (L_r, U, dot, norm_r, norm_u, c)]).tolist()
        if strange := [name for name, x in zip(_NUMBERS, numbers, strict=True) if not math.isfinite(x)]:
            # Batch norms in training mode have already seen the batch.
            _put_back(network, buffers)
            raise Diverged(i, f"the {strange[0]}")

        for weight, gradient in zip(weights, g, strict=True):
            weight.grad = gradient
        rate = learning_rate * (0.5 * (1 + math.cos(math.pi * (i - 1) / steps)) if cosine else 1.0) * (guard.rate if guard else 1.0)
        update.param_groups[0]["lr"] = rate
        if of_update and projected:
            numbers[-1] += _bent_step(update, weights, g_u, per_layer) / rate
        else:
            update.step()
        update.zero_grad(set_to_none=True)
        done = i
        seen = guard.after(i, steps, micro, state, partial(_restore, task, update)) if guard else {}
        yield _step(i, numbers, forget_weight, start, fit, snapshot, seen)


@torch.no_grad()
def _bent_step(update: torch.optim.Optimizer, weights: Sequence[Tensor], g_u: Sequence[Tensor], per_layer: bool) -> float:
    """The optimizer's step without its part along g_u, if that would raise U; how much of g_u that was."""
    before = [weight.detach().clone() for weight in weights]
    update.step()
    return float(project_update(weights, before, g_u, per_layer))


def _passes(
    task: Task, descend: Loss, forget: Batch, retain: Batch, buffers: Sequence[Tensor], micro: int
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """U, g_u, L_r and g_r; `buffers` are those before the step, which a pass that did not fit may have changed."""
    _put_back(task.network, buffers)
    return *_gradient(descend, task, forget, micro), *_gradient(task.loss, task, retain, micro)


def _gradient(loss: Loss, task: Task, batch: Batch, micro: int) -> tuple[Tensor, list[Tensor]]:
    """The mean loss of a batch and its gradient by every weight, `micro` examples at a time; zero where a weight has none.

    Pieces add up inside the weights' own gradients: beside these nothing of their size is held.
    """
    weights, total = task.weights.values(), torch.zeros(())
    for weight in weights:
        weight.grad = None
    for share, piece in pieces(batch, micro):
        with torch.enable_grad():
            value = loss(task.network, piece) * share if share < 1 else loss(task.network, piece)
            value.backward(inputs=list(weights))  # type: ignore[no-untyped-call]
        total = total.to(value) + value.detach()
    gradient = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return total, gradient


@torch.no_grad()
def _put_back(network: nn.Module, buffers: Sequence[Tensor]) -> None:
    for buffer, kept in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(kept)


def _optimizer(name: str, weights: Sequence[Tensor], rate: float, momentum: float, decay: float) -> torch.optim.Optimizer:
    """The optimizer by name; InputError for another name."""
    # foreach holds temporaries as large as all weights; on a card there is a kernel that holds none.
    how: dict[str, Any] = {"fused": True} if all(weight.is_cuda for weight in weights) else {"foreach": True}
    if name == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, **how)
    if name == "adamw":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, **how)
    if name == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=momentum, weight_decay=decay, **how)
    if name == "adafactor":
        return torch.optim.Adafactor(weights, lr=rate, weight_decay=decay, foreach=False)
    raise InputError(f"optimizer {name!r} is unknown: give adam, adamw, adafactor or sgd")


def _snapshot(task: Task, update: torch.optim.Optimizer, step: int, micro: int) -> dict[str, Tensor]:
    """All that repair changes, as copies on the CPU: weights, buffers, the optimizer's state, the step, the micro-batch."""
    state: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in task.weights.items()}
    state |= {f"buffer/{name}": buffer for name, buffer in task.network.named_buffers()}
    for name, weight in task.weights.items():
        state |= {f"state/{name}/{key}": value for key, value in update.state[weight].items() if isinstance(value, Tensor)}
    numbers = {"step": torch.tensor(step), "micro_batch": torch.tensor(micro)}
    return numbers | {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


@torch.no_grad()
def _restore(task: Task, update: torch.optim.Optimizer, snapshot: Mapping[str, Tensor]) -> tuple[int, int]:
    """Put a snapshot back and return its step and micro-batch."""
    for kind, tensors in (("weight", task.weights), ("buffer", dict(task.network.named_buffers()))):
        for name, tensor in tensors.items():
            if (kept := snapshot.get(f"{kind}/{name}")) is None or kept.shape != tensor.shape:
                raise InputError(f"the snapshot to resume from does not fit {kind} {name!r}: it is from another network or scope")
            tensor.copy_(kept)
    for name, weight in task.weights.items():
        prefix = f"state/{name}/"
        for key in [key for key in snapshot if key.startswith(prefix)]:
            # The optimizers count their steps on the CPU.
            place = "cpu" if key == f"{prefix}step" else weight.device
            update.state[weight][key.removeprefix(prefix)] = snapshot[key].to(place, copy=True)
    return int(snapshot["step"]), int(snapshot.get("micro_batch", 0))


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
