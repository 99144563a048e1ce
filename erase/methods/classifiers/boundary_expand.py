"""Boundary expanding (BE; Chen et al., CVPR 2023): push forget samples into an extra class, then take that class away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.classifiers.task import ClassifierTask, evaluated, forgotten
from erase.errors import InputError
from erase.options import check, option
from erase.task import Step, generator
from erase.training.optimizers import OptimizerConfig
from erase.training.sgd_loop import descend


@dataclass(frozen=True)
class BoundaryExpand:
    """Give the head one more output, the shadow class; train forget samples towards it; prune the output (its section 4.2).

    The shadow is in the network only while a step computes its loss: between Steps the network has its own classes.
    """

    epochs: int = option(10, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "step size", above=0.0)
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "pull of every weight towards 0", low=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 1e-6},
        "cifar100": {"learning_rate": 1e-6},
        "svhn": {"learning_rate": 1e-6},
        "celeba": {"epochs": 5, "learning_rate": 1e-5},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place, and the shadow with it; a Step after each optimizer step."""
        head, loss = find_head(task), forgotten(task.loss)
        weight, bias = shadow(head, task.seed)

        def objective(i: int) -> tuple[Tensor, Tensor]:
            batch = task.forget(i)
            with expanded(head, weight, bias):
                taught = loss(task.network, {**batch, "y": torch.full_like(batch["y"], task.classes)})
            return torch.zeros_like(taught), taught

        steps, weights = self.epochs * task.epoch_forget, {**task.weights, "shadow/weight": weight, "shadow/bias": bias}
        optimizer = OptimizerConfig("sgd", self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        yield from descend(replace(task, weights=weights), objective, steps, method="boundary_expand", optimizer=optimizer, resume=resume)


def find_head(task: ClassifierTask) -> nn.Linear:
    """The last Linear layer that a forward pass goes through; InputError unless it gives one score a class."""
    seen: list[nn.Module] = []
    linear = [module for module in task.network.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(lambda module, given, made: seen.append(module)) for module in linear]
    try:
        with evaluated(task.network), torch.no_grad():
            task.network(task.forget(0)["x"])
    finally:
        for handle in handles:
            handle.remove()
    if not seen or not isinstance(seen[-1], nn.Linear) or seen[-1].out_features != task.classes:
        raise InputError(
            f"boundary_expand widens a last Linear layer of {task.classes} outputs, and {type(task.network).__name__} has none; "
            "choose another method"
        )
    return seen[-1]


def shadow(head: nn.Linear, seed: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (1, in) and bias (1,) of the extra output, drawn as torch starts a Linear layer."""
    draw = 2 * torch.rand(head.in_features + 1, generator=generator(seed, "shadow")) - 1
    fresh = (draw / head.in_features**0.5).to(head.weight)
    return nn.Parameter(fresh[None, :-1].clone()), nn.Parameter(fresh[-1:].clone())


@contextmanager
def expanded(head: nn.Linear, weight: Tensor, bias: Tensor) -> Iterator[None]:
    """Within, the head has one more output, the last."""
    handle = head.register_forward_hook(lambda module, given, made: torch.cat([made, F.linear(given[0], weight, bias)], -1))
    try:
        yield
    finally:
        handle.remove()
