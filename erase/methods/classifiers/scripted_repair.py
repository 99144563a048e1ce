"""Repair as the released script does it: whole forget batches in the first steps of an epoch, and GEM's projection.

Lopez-Paz and Ranzato (NeurIPS 2017) project a gradient so that the loss on remembered samples does not rise. The script does the same
with the unlearning loss: the remembered gradient is that of one forget batch, taken once an epoch, and only some layers are projected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from erase.classifiers.task import ClassifierTask
from erase.errors import InputError
from erase.project import Projected, Projection, project
from erase.scope import in_scope
from erase.task import Batch, Batches, Step
from erase.training.modes import evaluated
from erase.training.optimizers import OptimizerConfig
from erase.training.two_loss_loop import Moment, Side, tune

RIDGE = 1e-3
"""Added by GEM's solver to the squared length of the remembered gradient."""

MEMORY = "forgetting_memory_"
"""Names of the buffers with the remembered gradient, followed by a number: a snapshot contains them."""


def whole_batches(task: ClassifierTask) -> Batches:
    """Step -> a whole forget batch in the first steps of an epoch over the retain set, until the forget set is through; then None.

    What does not fit into an epoch, where the forget set is the larger one, is left out of it.
    """

    def batch(i: int) -> Batch | None:
        epoch, within = divmod(i, task.epoch_retain)
        return task.forget(epoch * task.epoch_forget + within) if within < task.epoch_forget else None

    return batch  # type: ignore[return-value]  # `tune` takes None for a step without a forget batch


@dataclass(frozen=True)
class ScriptedProjection:
    """How a gradient g = g_r + lambda g_u is projected in the steps that carry a forget batch.

    `scope`: the layers that are projected, as one vector (None: all in scope). `every`: project in each so many-th step of an epoch.
    `memory`: m is the unlearning gradient of the "step", or that of the first forget batch of the "epoch", in eval mode. Where
    <g, m> < 0, g becomes g + v m with v = max(margin, -<g, m> / ||m||²).
    """

    scope: str | None = None
    every: int = 1
    memory: str = "step"
    margin: float = 0.0


def multiplier(dot: Tensor, square: Tensor, margin: float) -> Tensor:
    """v of GEM's dual, min ½ v² ||m||² + v <g, m> for v >= margin, where <g, m> < 0; else 0. With a margin ||m||² has its RIDGE."""
    v = (-dot / (square + (RIDGE if margin else 0.0))).clamp(min=margin)
    return torch.where((dot < 0) & (square > 0), v, torch.zeros_like(v))


def scripted_repair(
    task: ClassifierTask,
    epochs: int,
    optimizer: OptimizerConfig,
    forget_weight: float,
    projection: ScriptedProjection | None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Descend L_r + lambda U, a step for each retain batch; `task.forget` returns None for a step without a forget batch.

    Retain batches go through the network first, then forget batches. Without a `projection` nothing is projected. InputError where its
    layers are not among those in scope.
    """
    names = list(in_scope(task.network, projection.scope)) if projection and projection.scope else list(task.weights)
    layers = [i for i, name in enumerate(task.weights) if name in set(names)]
    if projection is not None and not layers:
        raise InputError(
            f"--projection-scope {projection.scope} has no weights that repair may change; give another, or --no-projected",
            option="projection_scope",
        )
    remembers = projection is not None and projection.memory == "epoch"

    with _memory(task, layers if remembers else []) as memory:

        def combine(g_r: Sequence[Tensor], g_u: Sequence[Tensor], moment: Moment[Batch]) -> Projected:
            found = project(g_r, g_u, forget_weight, Projection("none"))
            step = moment.number % task.epoch_retain + 1
            if projection is None or moment.batch is None or step % projection.every:
                return found
            m = memory if remembers else [g_u[i] for i in layers]
            return _projected(found, layers, m, projection.margin)

        def forget(i: int) -> Batch:
            if remembers and not i % task.epoch_retain:  # before the step's passes, which move the running statistics
                _remember(task, i, layers, memory)
            return task.forget(i)

        retain, unlearn = Side(task.loss, task.retain), Side(task.unlearn, forget)
        steps = epochs * task.epoch_retain
        for step in tune(task, steps, retain, unlearn, combine, optimizer=optimizer, resume=resume):
            yield replace(step, projected=step.coefficient > forget_weight * (1 + 1e-6))


@torch.no_grad()
def _projected(found: Projected, layers: Sequence[int], m: Sequence[Tensor], margin: float) -> Projected:
    """g + v m on these layers; the coefficient grows by v."""
    dot, square = (
        torch.stack([torch.dot(a.flatten(), b.flatten()) for a, b in pairs]).sum().to(found.coefficient)
        for pairs in (list(zip((found.gradient[i] for i in layers), m, strict=True)), list(zip(m, m, strict=True)))
    )
    v = multiplier(dot, square, margin)
    for i, direction in zip(layers, m, strict=True):
        found.gradient[i].addcmul_(direction, v.to(direction))
    return found._replace(coefficient=found.coefficient + v)


def _remember(task: ClassifierTask, step: int, layers: Sequence[int], memory: Sequence[Tensor]) -> None:
    """Write the unlearning gradient of this step's forget batch, in eval mode, into the memory."""
    weights = list(task.weights.values())
    with evaluated(task.network), torch.enable_grad():
        loss = task.unlearn(task.network, task.forget(step))
        gradient = torch.autograd.grad(loss, [weights[i] for i in layers], allow_unused=True, materialize_grads=True)
    for kept, g in zip(memory, gradient, strict=True):
        kept.copy_(g)


@contextmanager
def _memory(task: ClassifierTask, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Zeros in the shape of these weights; within, they are among the network's buffers."""
    weights = list(task.weights.values())
    for number, i in enumerate(layers):
        task.network.register_buffer(f"{MEMORY}{number}", torch.zeros_like(weights[i].detach()), persistent=False)
    try:
        yield [getattr(task.network, f"{MEMORY}{number}") for number in range(len(layers))]
    finally:
        for number in range(len(layers)):
            delattr(task.network, f"{MEMORY}{number}")
