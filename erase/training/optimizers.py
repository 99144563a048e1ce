"""What every loop over batches needs: an optimizer by name, the gradient of a loss in pieces, and the state to go on from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from erase.errors import Diverged, InputError
from erase.task import Batch, Loss
from erase.training.micro_batches import pieces

# optimizer -> bytes a weight of its state, and of what it holds for a moment while it updates all weights at once.
STATE_BYTES = {"adam": (8, 4), "adamw": (8, 4), "adafactor": (1, 0), "sgd": (4, 4)}
MULTIPLE = "multiple"  # in a group of weights: its rate in multiples of the optimizer's


def make_optimizer(
    name: str, weights: Sequence[Tensor], rate: float, momentum: float = 0.9, decay: float = 0.0, multiples: Sequence[float] | None = None
) -> torch.optim.Optimizer:
    """The optimizer by name, each weight's rate a multiple of `rate`, 1 by default; InputError for another name."""
    # foreach holds temporaries as large as all weights; on a card there is a kernel that holds none.
    how: dict[str, Any] = {"fused": True} if all(weight.is_cuda for weight in weights) else {"foreach": True}
    many = multiples or [1.0] * len(weights)
    alike = {multiple: [weight for weight, own in zip(weights, many, strict=True) if own == multiple] for multiple in many}
    groups = [{"params": mine, "lr": rate * multiple, MULTIPLE: multiple} for multiple, mine in alike.items()]
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=decay, **how)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=decay, **how)
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=decay, **how)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, weight_decay=decay, foreach=False)
    raise InputError(f"optimizer {name!r} is unknown: give adam, adamw, adafactor or sgd")


def set_rate(update: torch.optim.Optimizer, rate: float) -> None:
    """Of every weight its multiple of `rate`."""
    for group in update.param_groups:
        group["lr"] = rate * group[MULTIPLE]


def gradient_of(
    loss: Loss, network: nn.Module, weights: Mapping[str, nn.Parameter], batch: Batch, micro: int
) -> tuple[Tensor, list[Tensor]]:
    """The mean loss of a batch and its gradient by every weight, `micro` examples at a time; zero where a weight has none.

    Pieces add up inside the weights' own gradients: beside these nothing of their size is held.
    """
    held, total = list(weights.values()), torch.zeros(())
    for weight in held:
        weight.grad = None
    for share, piece in pieces(batch, micro):
        with torch.enable_grad():
            value = loss(network, piece) * share if share < 1 else loss(network, piece)
            value.backward(inputs=held)  # type: ignore[no-untyped-call]
        total = total.to(value) + value.detach()
    found = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in held]
    for weight in held:
        weight.grad = None
    return total, found


NUMBERS = ("retain loss", "unlearn loss", "product of the gradients", "retain gradient", "unlearn gradient", "coefficient")


def finite(i: int, numbers: Sequence[Tensor]) -> list[float]:
    """The NUMBERS of step i, in one host copy; Diverged, by name, where one of them is no number."""
    found: list[float] = torch.stack([x.to(numbers[2]) for x in numbers]).tolist()
    if strange := [name for name, x in zip(NUMBERS, found, strict=True) if not math.isfinite(x)]:
        raise Diverged(i, f"the {strange[0]}")
    return found


@torch.no_grad()
def put_back(network: nn.Module, buffers: Sequence[Tensor]) -> None:
    """The network's buffers as they were."""
    for buffer, kept in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(kept)


def snapshot_of(
    network: nn.Module, weights: Mapping[str, nn.Parameter], update: torch.optim.Optimizer, step: int, micro: int
) -> dict[str, Tensor]:
    """All that a loop changes, as copies on the CPU: weights, buffers, the optimizer's state, the step, the micro-batch."""
    state: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in weights.items()}
    state |= {f"buffer/{name}": buffer for name, buffer in network.named_buffers()}
    for name, weight in weights.items():
        state |= {f"state/{name}/{key}": value for key, value in update.state[weight].items() if isinstance(value, Tensor)}
    numbers = {"step": torch.tensor(step), "micro_batch": torch.tensor(micro)}
    return numbers | {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


@torch.no_grad()
def restore(
    network: nn.Module, weights: Mapping[str, nn.Parameter], update: torch.optim.Optimizer, kept: Mapping[str, Tensor]
) -> tuple[int, int]:
    """Put a snapshot back and return its step and micro-batch; InputError where it is of another network."""
    for kind, tensors in (("weight", weights), ("buffer", dict(network.named_buffers()))):
        for name, tensor in tensors.items():
            if (value := kept.get(f"{kind}/{name}")) is None or value.shape != tensor.shape:
                raise InputError(f"the snapshot to resume from does not fit {kind} {name!r}: it is from another network or scope")
            tensor.copy_(value)
    for name, weight in weights.items():
        prefix = f"state/{name}/"
        for key in [key for key in kept if key.startswith(prefix)]:
            # The optimizers count their steps on the CPU.
            place = "cpu" if key == f"{prefix}step" else weight.device
            update.state[weight][key.removeprefix(prefix)] = kept[key].to(place, copy=True)
    return int(kept["step"]), int(kept.get("micro_batch", 0))
