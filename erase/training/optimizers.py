"""Optimizers by name, their learning rate schedule, and the gradient of a loss over micro-batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from erase.errors import InputError
from erase.task import B, Loss
from erase.training.micro_batches import pieces

OPTIMIZERS = ("adam", "adamw", "adafactor", "sgd")

STATE_BYTES = {"adam": (8, 4), "adamw": (8, 4), "adafactor": (1, 0), "sgd": (4, 4)}
"""Optimizer name -> bytes of state per weight, and bytes of temporaries per weight during an update of all weights at once."""

MULTIPLE = "multiple"
"""Key of a parameter group: its learning rate as a multiple of the optimizer's."""


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its learning rate schedule.

    `name` is one of OPTIMIZERS; `momentum` applies to sgd only. With `cosine` the learning rate decays to zero with a cosine schedule
    (Loshchilov and Hutter 2017). `multiples` maps names of weights to their learning rate as a multiple of the others'.
    """

    name: str = "adam"
    learning_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 0.0
    cosine: bool = False
    multiples: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise InputError(f"optimizer {self.name!r} is unknown: give adam, adamw, adafactor or sgd", option="optimizer")

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 1, out of `steps`."""
        return self.learning_rate * (0.5 * (1 + math.cos(math.pi * (step - 1) / steps)) if self.cosine else 1.0)


def make_optimizer(config: OptimizerConfig, weights: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """A torch optimizer over `weights`, with one parameter group for each multiple of the learning rate."""
    # foreach needs temporaries as large as all weights together; the fused CUDA kernel needs none.
    kernel: dict[str, Any] = {"fused": True} if all(weight.is_cuda for weight in weights.values()) else {"foreach": True}
    by_multiple: dict[float, list[Tensor]] = {}
    for name, weight in weights.items():
        by_multiple.setdefault(config.multiples.get(name, 1.0), []).append(weight)
    groups = [{"params": members, "lr": config.learning_rate * multiple, MULTIPLE: multiple} for multiple, members in by_multiple.items()]
    if config.name == "adam":
        return torch.optim.Adam(groups, weight_decay=config.weight_decay, **kernel)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay, **kernel)
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True)
    return torch.optim.Adafactor(groups, weight_decay=config.weight_decay, foreach=False)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group to its multiple of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[MULTIPLE]


def gradient_of(
    loss: Loss[B], network: nn.Module, weights: Mapping[str, nn.Parameter], batch: B, micro: int
) -> tuple[Tensor, list[Tensor]]:
    """The mean loss of a batch and its gradient for every weight, `micro` examples at a time; zeros where a weight has no gradient.

    Micro-batches accumulate in the weights' own `grad`, so that no second buffer of their size is needed.
    """
    parameters, total = list(weights.values()), torch.zeros(())
    for weight in parameters:
        weight.grad = None
    for share, piece in pieces(batch, micro):
        with torch.enable_grad():
            value = loss(network, piece) * share if share < 1 else loss(network, piece)
            value.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        total = total.to(value) + value.detach()
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in parameters]
    for weight in parameters:
        weight.grad = None
    return total, gradients
