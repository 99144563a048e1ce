"""Adversarial training: the unlearning loss is evaluated at adversarial prompt embeddings and at weights that relearning would reach.

Both are computed in the loop from the batch, its number and the current network, so that a resumed run is bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from erase.diffusion.batches import asked
from erase.repair import Moved
from erase.task import Batch, Batches, Loss, Task
from erase.training.micro_batches import count
from erase.training.optimizers import gradient_of

SOUGHT = "sought"
"""In a batch, (n,): 0 to forget under the prompt as it is, 1 under what is found from it, 2 from the anchor's prompt."""

RADIUS = 1.0
"""Radius of the search for a prompt embedding, in units of the distance between a prompt's embedding and its anchor's."""

SHIFT = 0.0075
"""Length of a relearning step: the change of every weight, as a share of its tensor's root mean square."""


def adversarial_batches(batches: Batches, every: int) -> Batches:
    """The same batches; each `every`-th is marked for a search, from the prompt and from its anchor's in turn."""

    def marked(i: int) -> Batch:
        batch = batches(i)
        turn = 0 if i % every else 1 + i // every % (2 if "anchor_text" in batch else 1)
        return {**batch, SOUGHT: torch.full((count(batch),), turn, device=batch["text"].device)}

    return marked


def adversarial_loss(unlearn: Loss, loss: Loss, steps: int, radius: float = RADIUS) -> Loss:
    """An unlearning loss that, in marked batches, sees the text embedding that an attacker would find instead of the prompt's.

    Forgetting where a search in the space of prompts ends is the inner maximisation of adversarial training (Madry et al. 2018),
    for erasing concepts Zhang et al. 2024 (AdvUnlearn).
    """

    def hardened(network: nn.Module, batch: Batch) -> Tensor:
        turn = int(batch[SOUGHT][0])
        if not turn:
            return unlearn(network, batch)
        start = batch["text"] if turn == 1 else batch["anchor_text"]
        return unlearn(network, {**batch, "text": found_text(network, loss, batch, start, steps, radius)})

    return hardened


def found_text(network: nn.Module, loss: Loss, batch: Batch, start: Tensor, steps: int, radius: float) -> Tensor:
    """Text embeddings (n, tokens, width) under which the network denoises the pictures of the batch better than under `start`.

    Normalised gradient descent of each example by itself, within a ball around its start whose radius is in distances between
    its prompt and its anchor's; where there is no anchor, in tenths of the prompt's length.
    """
    unit = batch["text"] - batch["anchor_text"] if "anchor_text" in batch else 0.1 * batch["text"]
    reach = radius * _lengths(unit)
    away = torch.zeros_like(start)
    for _ in range(steps):
        with torch.enable_grad():
            text = (start + away).requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(network, {**asked(batch), "text": text}), text)
        away = away - (2 / steps) * reach * gradient / _lengths(gradient).clamp_min(1e-20)
        away = away * (reach / _lengths(away).clamp_min(1e-20)).clamp_max(1.0)
    return (start + away).detach()


def _lengths(x: Tensor) -> Tensor:
    """Euclidean length of each example, shaped to divide it."""
    found: Tensor = x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return found


def relearned(task: Task, every: int, steps: int, shift: float = SHIFT) -> Moved:
    """Each `every`-th batch is forgotten from where relearning would lead: the first-order gradient of meta-learning (Finn et al. 2017).

    Relearning descends the training loss on half of the next forget batch, 1 to `steps` times in turn. Its steps are those that Adam,
    which relearners use, begins with: every weight moves by the same share of its tensor's root mean square, against its gradient's
    sign. Steps along the gradient itself move few weights, and what withstands these does not withstand Adam.
    """

    def moved(i: int, micro: int) -> AbstractContextManager[None]:
        return nullcontext() if i % every else _relearned(task, task.forget(i + 1), 1 + i // every % steps, shift, micro)

    return moved


@contextmanager
def _relearned(task: Task, batch: Batch, steps: int, shift: float, micro: int) -> Iterator[None]:
    """Weights after a few steps of relearning, put back afterwards."""
    before = {name: weight.detach().clone() for name, weight in task.weights.items()}
    half = {name: tensor[::2] for name, tensor in asked(batch).items()}
    try:
        for _ in range(steps):
            _, gradient = gradient_of(task.loss, task.network, task.weights, half, micro)
            task.average(gradient)
            with torch.no_grad():
                for weight, g in zip(task.weights.values(), gradient, strict=True):
                    weight.sub_(g.sign() * (shift * weight.square().mean().sqrt()))
        yield
    finally:
        _put(task.weights, before)


@torch.no_grad()
def _put(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])
