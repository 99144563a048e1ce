"""Adversarial training: the unlearning loss is evaluated at adversarial prompt embeddings and at weights that relearning would reach.

Both are computed in the loop from the batch, its number and the current network, so that a resumed run is bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from erase.diffusion.batches import Conditioning, DiffusionBatch, diffusion_batch, required_anchor
from erase.errors import InputError
from erase.repair import Moved
from erase.task import Batches, Loss, Task
from erase.training.optimizers import gradient_of

RADIUS = 1.0
"""Radius of the search for a text embedding, in units of the distance between the embeddings of a prompt and of its anchor."""

SHIFT = 0.0075
"""Length of a relearning step: the change of every weight, as a share of its tensor's root mean square."""


def adversarial_batches(batches: Batches[DiffusionBatch], every: int) -> Batches[DiffusionBatch]:
    """The same batches; every `every`-th is marked for a search, which starts from the prompt and from its anchor's in turn."""

    def marked(i: int) -> DiffusionBatch:
        batch = batches(i)
        starts: list[Literal["prompt", "anchor"]] = ["prompt", "anchor"] if batch.anchor is not None else ["prompt"]
        return replace(batch, search_from=None if i % every else starts[i // every % len(starts)])

    return marked


def adversarial_loss(unlearn: Loss[DiffusionBatch], loss: Loss[DiffusionBatch], steps: int, radius: float = RADIUS) -> Loss[DiffusionBatch]:
    """An unlearning loss that, in marked batches, is evaluated under the text embedding that an attacker would find.

    The search is the inner maximisation of adversarial training (Madry et al. 2018); for concept erasure Zhang et al. 2024 (AdvUnlearn).
    """

    def hardened(network: nn.Module, batch: DiffusionBatch) -> Tensor:
        if batch.search_from is None:
            return unlearn(network, batch)
        start: Conditioning = batch.prompt if batch.search_from == "prompt" else required_anchor(batch)
        return unlearn(network, batch.with_text(adversarial_text(network, loss, batch, start.text, steps, radius)))

    return hardened


def adversarial_text(
    network: nn.Module, loss: Loss[DiffusionBatch], batch: DiffusionBatch, start: Tensor, steps: int, radius: float
) -> Tensor:
    """Text embeddings (n, tokens, width) under which the network denoises the images of the batch better than under `start`.

    Normalised gradient descent for each image separately, within a ball around its start. The radius is in units of the distance
    between the embeddings of its prompt and of its anchor; without an anchor, of a tenth of the norm of the prompt's embedding.
    """
    if not start.is_floating_point():
        raise InputError(
            "--adversarial searches text embeddings, and --part text-encoder makes them itself; leave it out", option="adversarial"
        )
    unit = batch.prompt.text - batch.anchor.text if batch.anchor is not None else 0.1 * batch.prompt.text
    reach = radius * _norms(unit)
    offset = torch.zeros_like(start)
    for _ in range(steps):
        with torch.enable_grad():
            text = (start + offset).requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(network, batch.with_text(text)), text)
        offset = offset - (2 / steps) * reach * gradient / _norms(gradient).clamp_min(1e-20)
        offset = offset * (reach / _norms(offset).clamp_min(1e-20)).clamp_max(1.0)
    return (start + offset).detach()


def _norms(x: Tensor) -> Tensor:
    """Euclidean norm of each example, shaped to divide it."""
    norms: Tensor = x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return norms


def relearned(task: Task[DiffusionBatch], every: int, steps: int, shift: float = SHIFT) -> Moved:
    """For every `every`-th batch, the weights that relearning would reach: the first-order gradient of meta-learning (Finn et al. 2017).

    Relearning descends the training loss on half of the next forget batch, 1 to `steps` times in turn. Its steps are like the first
    ones of Adam, which relearning attacks use: every weight changes by the same share of its tensor's root mean square, against its
    gradient's sign. Steps along the gradient itself change few weights, and a network that resists those does not resist Adam.
    """

    def moved(i: int, micro: int) -> AbstractContextManager[None]:
        return nullcontext() if i % every else _relearned(task, task.forget(i + 1), 1 + i // every % steps, shift, micro)

    return moved


@contextmanager
def _relearned(task: Task[DiffusionBatch], batch: DiffusionBatch, steps: int, shift: float, micro: int) -> Iterator[None]:
    """Within, the weights after a few steps of relearning; restored afterwards."""
    before = {name: weight.detach().clone() for name, weight in task.scored.items()}
    half = diffusion_batch(batch).map(lambda tensor: tensor[::2])
    try:
        with _differentiable(task.base):
            for _ in range(steps):
                _, gradient = gradient_of(task.loss, task.network, task.scored, half, micro)
                task.average(gradient)
                with torch.no_grad():
                    for weight, g in zip(task.scored.values(), gradient, strict=True):
                        weight.sub_(g.sign() * (shift * weight.square().mean().sqrt()))
        yield
    finally:
        _restore(task.scored, before)


@contextmanager
def _differentiable(frozen: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, weights that are trained through factors have gradients themselves: whoever relearns is free to change them."""
    try:
        for weight in frozen.values():
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen.values():
            weight.requires_grad_(False)


@torch.no_grad()
def _restore(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])
