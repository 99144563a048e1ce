"""The plain training loop, for methods that descend one loss; yields Steps. Scissorhands has `erase.repair` instead."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from erase.errors import Diverged, InputError
from erase.task import Step

Objective = Callable[[int], tuple[Tensor, Tensor]]
"""Step number, from 0 -> what it loses on retain data and what it adds to forget; their sum descends."""


def descend(
    method: str,
    network: nn.Module,
    weights: Mapping[str, nn.Parameter],
    objective: Objective,
    steps: int,
    learning_rate: float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    cosine: bool = False,
    mask: Mapping[str, Tensor] | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """SGD on the sum of an objective; with `cosine` the rate falls to 0 along half a cosine (Loshchilov and Hutter 2017).

    With a `mask` only the entries where it is True move: decay, too, is masked, and so is momentum. Modules stay in the
    mode they are in. A step's `snapshot`, handed back as `resume`, goes on bit for bit; the network handed in may be in any
    state then. Diverged, with the method's name and nothing changed, when a loss or gradient is not finite.
    """
    held = list(weights.values())
    update = torch.optim.SGD(held, lr=learning_rate, momentum=momentum, weight_decay=0.0 if mask else weight_decay, foreach=True)
    done = _restore(network, weights, update, resume) if resume else 0

    def snapshot() -> dict[str, Tensor]:
        return _snapshot(network, weights, update, done)

    for i in range(done + 1, steps + 1):
        start = time.perf_counter()
        buffers = [buffer.clone() for buffer in network.buffers()]
        with torch.enable_grad():
            retain_loss, unlearn_loss = objective(i - 1)
            gradient = torch.autograd.grad(retain_loss + unlearn_loss, held, allow_unused=True, materialize_grads=True)
        length = torch.stack(torch._foreach_norm(gradient)).norm()
        lost, added, length = torch.stack([x.detach().to(length) for x in (retain_loss, unlearn_loss, length)]).tolist()
        if not math.isfinite(lost + added + length):
            # Batch norms in training mode have already seen the batch.
            for buffer, kept in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(kept)
            raise Diverged(i, f"the {'gradient' if math.isfinite(lost + added) else 'loss'} of {method}")
        for (name, weight), g in zip(weights.items(), gradient, strict=True):
            weight.grad = g if mask is None else (g + weight_decay * weight.detach()).mul_(mask[name])
        update.param_groups[0]["lr"] = learning_rate * (0.5 * (1 + math.cos(math.pi * (i - 1) / steps)) if cosine else 1.0)
        update.step()
        update.zero_grad(set_to_none=True)
        done = i
        yield Step(
            step=i,
            retain_loss=lost,
            unlearn_loss=added,
            cosine=0.0,
            coefficient=1.0,
            projected=False,
            seconds=time.perf_counter() - start,
            snapshot=snapshot,
        )


def state_of(network: nn.Module, weights: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
    """Weights, buffers and step, as copies on the CPU, under the names that snapshots have."""
    state: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in weights.items()}
    state |= {f"buffer/{name}": buffer for name, buffer in network.named_buffers()}
    return {"step": torch.tensor(step)} | {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


@torch.no_grad()
def put_back(network: nn.Module, weights: Mapping[str, Tensor], snapshot: Mapping[str, Tensor]) -> int:
    """The counterpart of `state_of`; returns the step. InputError where the snapshot is of another network."""
    for kind, tensors in (("weight", weights), ("buffer", dict(network.named_buffers()))):
        for name, tensor in tensors.items():
            if (kept := snapshot.get(f"{kind}/{name}")) is None or kept.shape != tensor.shape:
                raise InputError(f"the snapshot to resume from does not fit {kind} {name!r}: it is from another network, method or scope")
            tensor.copy_(kept)
    return int(snapshot["step"])


def _snapshot(network: nn.Module, weights: Mapping[str, nn.Parameter], update: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    momenta = {f"momentum/{name}": update.state[weight].get("momentum_buffer") for name, weight in weights.items()}
    copies = {name: value.to("cpu", copy=True) for name, value in momenta.items() if value is not None}
    return state_of(network, weights, step) | copies


def _restore(network: nn.Module, weights: Mapping[str, nn.Parameter], update: torch.optim.Optimizer, snapshot: Mapping[str, Tensor]) -> int:
    for name, weight in weights.items():
        if (kept := snapshot.get(f"momentum/{name}")) is not None:
            update.state[weight]["momentum_buffer"] = kept.to(weight.device, copy=True)
    return put_back(network, weights, snapshot)
