"""Boundary expanding (BE; Chen et al., CVPR 2023): push forget samples into an extra class, then remove that class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod, norms_option
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


BOUNDARY = Released(
    both={"learning_rate": 1e-6, "forget_norms": "batch"},
    datasets={"celeba": {"epochs": 5, "learning_rate": 1e-5}},
    shares={"cifar10": {"50": {"learning_rate": 5e-6}}, "cifar100": {"50": {"learning_rate": 1e-5}}},
)


@dataclass(frozen=True)
class BoundaryExpand(SGDMethod):
    """Give the head one more output, the shadow class; train forget samples towards it; prune the output (its section 4.2).

    The shadow class is part of the network only while a step computes its loss: between Steps the network has its own classes.
    """

    epochs: int = option(10, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "learning rate", above=0.0)

    forget_norms: str = norms_option()

    presets: ClassVar[Presets] = BOUNDARY.presets()
    shares: ClassVar = BOUNDARY.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` and the shadow class in place; a Step after each optimizer step."""
        import torch

        from erase.classifiers.task import forget_pass
        from erase.training.sgd_loop import descend, forget_only

        head, loss = find_head(task), forget_pass(task.loss, self.forget_norms)
        weight, bias = shadow(head, task.seed)

        def shadow_loss(i: int) -> Tensor:
            batch = task.forget(i)
            with expanded(head, weight, bias):
                return loss(task.network, {**batch, "y": torch.full_like(batch["y"], task.classes)})

        extended = replace(task, weights={**task.weights, "shadow/weight": weight, "shadow/bias": bias})
        steps = self.epochs * task.epoch_forget
        objective = forget_only(shadow_loss)
        yield from descend(extended, objective, steps, method="boundary_expand", optimizer=self.optimizer, resume=resume)


def find_head(task: ClassifierTask) -> nn.Linear:
    """The last Linear layer of a forward pass; InputError unless it has one output per class."""
    import torch
    from torch import nn

    from erase.training.modes import evaluated

    visited: list[nn.Linear] = []
    linear = [module for module in task.network.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(lambda module, inputs, output: visited.append(module)) for module in linear]
    try:
        with evaluated(task.network), torch.no_grad():
            task.network(task.forget(0)["x"])
    finally:
        for handle in handles:
            handle.remove()
    if not visited or visited[-1].out_features != task.classes:
        raise InputError(
            f"boundary_expand widens a last Linear layer of {task.classes} outputs, and {type(task.network).__name__} has none; "
            "choose another method"
        )
    return visited[-1]


def shadow(head: nn.Linear, seed: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (1, in) and bias (1,) of the extra output, initialised as torch initialises a Linear layer."""
    import torch
    from torch import nn

    from erase.task import generator

    draw = 2 * torch.rand(head.in_features + 1, generator=generator(seed, "shadow")) - 1
    values = (draw / head.in_features**0.5).to(head.weight)
    return nn.Parameter(values[None, :-1].clone()), nn.Parameter(values[-1:].clone())


@contextmanager
def expanded(head: nn.Linear, weight: Tensor, bias: Tensor) -> Iterator[None]:
    """Within, the head has one more output, the last."""
    import torch
    import torch.nn.functional as F

    handle = head.register_forward_hook(lambda module, inputs, output: torch.cat([output, F.linear(inputs[0], weight, bias)], -1))
    try:
        yield
    finally:
        handle.remove()
