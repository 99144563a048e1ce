"""The repair loop: restore the trimmed network on retain batches without taking back what was forgotten."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from erase.project import project
from erase.task import Diverged, InputError, Loss, Step, Task

_NUMBERS = ("retain loss", "unlearn loss", "product of the gradients", "retain gradient", "unlearn gradient", "coefficient")


def repair(
    task: Task,
    steps: int,
    optimizer: str = "adam",
    learning_rate: float = 1e-5,
    forget_weight: float = 1.0,
    *,
    projected: bool = True,
    unlearn: Loss | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    cosine: bool = False,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Minimise L_r + λ U under <g, g_u> >= 0 (Eqs. 3 to 5), with two backward passes and one host copy a step.

    Step i, from 1, sees forget and retain batches i - 1.
    `optimizer` is adam, adamw or sgd, and `momentum` is for the last. With `cosine` the rate falls to 0 along half a cosine.
    `unlearn` stands in for the task's own. Modules
    stay in the mode in which the task has them. A step's `snapshot` holds the state at the time it is called; with an
    earlier one as `resume` the run goes on bit for bit as if it had not stopped.

    Diverged, before anything is changed, when a loss or gradient is not finite.
    """
    network, weights, descend = task.network, list(task.weights.values()), unlearn or task.unlearn
    update = _optimizer(optimizer, weights, learning_rate, momentum, weight_decay)
    done = _restore(task, update, resume) if resume else 0

    def snapshot() -> dict[str, Tensor]:
        return _snapshot(task, update, done)

    for i in range(done + 1, steps + 1):
        start = time.perf_counter()
        buffers = [buffer.clone() for buffer in network.buffers()]

        with torch.enable_grad():
            U = descend(network, task.forget(i - 1))
            g_u = _gradient(U, weights)
            L_r = task.loss(network, task.retain(i - 1))
            g_r = _gradient(L_r, weights)

        g, dot, norm_r, norm_u, c = project(g_r, g_u, forget_weight, enabled=projected)

        numbers = torch.stack([x.detach().to(dot) for x in (L_r, U, dot, norm_r, norm_u, c)]).tolist()
        if strange := [name for name, x in zip(_NUMBERS, numbers, strict=True) if not math.isfinite(x)]:
            # Batch norms in training mode have already seen the batch.
            for buffer, kept in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(kept)
            raise Diverged(i, f"the {strange[0]}")

        for weight, gradient in zip(weights, g, strict=True):
            weight.grad = gradient
        update.param_groups[0]["lr"] = learning_rate * (0.5 * (1 + math.cos(math.pi * (i - 1) / steps)) if cosine else 1.0)
        update.step()
        update.zero_grad(set_to_none=True)
        done = i
        yield _step(i, numbers, forget_weight, start, snapshot)


def _gradient(value: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a loss by every weight, zero where it has none, in tensors that can be written to."""
    gradient, seen = [], set()
    for part in torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True):
        # Autograd hands out one tensor for two weights that are added, and a broadcast one for a sum.
        shared = part.data_ptr() in seen or 0 in part.stride()
        gradient.append(part.clone(memory_format=torch.contiguous_format) if shared else part)
        seen.add(part.data_ptr())
    return gradient


def _optimizer(name: str, weights: Sequence[Tensor], rate: float, momentum: float, decay: float) -> torch.optim.Optimizer:
    """The optimizer by name; InputError for another name."""
    if name == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, foreach=True)
    if name == "adamw":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, foreach=True)
    if name == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=momentum, weight_decay=decay, foreach=True)
    raise InputError(f"optimizer {name!r} is unknown: give adam, adamw or sgd")


def _snapshot(task: Task, update: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    """All that repair changes, as copies on the CPU: weights, buffers, the optimizer's state and the step."""
    state: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in task.weights.items()}
    state |= {f"buffer/{name}": buffer for name, buffer in task.network.named_buffers()}
    for name, weight in task.weights.items():
        state |= {f"state/{name}/{key}": value for key, value in update.state[weight].items() if isinstance(value, Tensor)}
    return {"step": torch.tensor(step)} | {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


@torch.no_grad()
def _restore(task: Task, update: torch.optim.Optimizer, snapshot: Mapping[str, Tensor]) -> int:
    """Put a snapshot back and return its step."""
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
    return int(snapshot["step"])


def _step(i: int, numbers: list[float], forget_weight: float, start: float, snapshot: Callable[[], dict[str, Tensor]]) -> Step:
    """The step in plain numbers."""
    retain_loss, unlearn_loss, dot, norm_r, norm_u, coefficient = numbers
    lengths = norm_r * norm_u
    # A hair above λ, because λ itself is rounded on devices without float64.
    acted = coefficient > forget_weight * (1 + 1e-6)
    cosine = dot / lengths if lengths else 0.0
    return Step(i, retain_loss, unlearn_loss, cosine, coefficient, acted, time.perf_counter() - start, snapshot)
