"""How far to forget: the loss at which a forget sample counts as forgotten, which is the loss on samples that were never seen.

Bounds are updated as the network changes. While it is repaired they are among its buffers, so that a snapshot contains them and a
resumed run continues bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.classifiers.task import ClassifierTask, absent, alongside, by_row, forget_pass
from erase.task import Batch, Batches, Loss
from erase.training.modes import evaluated

FIXED_EPOCHS = 2
"""Epochs in which bounds stay those of the original: a network that was just trimmed is uncertain about everything."""

HELD_OUT_BATCHES = 2
"""Held-out batches that are evaluated again in each later epoch."""

MOST = 1.5
"""Largest bound as a multiple of the original's; otherwise forgetting, which raises held-out losses, would ask for more forgetting."""

SHARE = 0.5
"""Largest size of a forget piece relative to a retain batch: half the time, with results that are no worse."""

LOSS, BOUND = "forgetting_lost", "forgetting_bound"
"""Names of the buffers."""


def losses_of(network: nn.Module, batch: Batch) -> Tensor:
    """The training loss of each sample, (n,)."""
    return F.cross_entropy(network(batch["x"]), batch["y"], reduction="none")


def expected_losses(task: ClassifierTask, bound: float | None) -> Tensor:
    """Losses that a network trained without the forget set is expected to have on it: (m,), sorted.

    They are the losses of the network as passed in on held-out samples, scaled up for the smaller training set, as 1 / n. Or one
    value for all: `bound`, or without held-out samples the loss of chance.
    """
    if bound is not None or task.held_out is None:
        return torch.tensor([math.log(task.classes) if bound is None else bound])
    return held_out_losses(task, range(task.epoch_held_out)) * (1 + task.forget_size / task.retain_size)


@torch.no_grad()
def held_out_losses(task: ClassifierTask, numbers: range) -> Tensor:
    """The losses on these held-out batches in eval mode, sorted."""
    assert task.held_out is not None
    with evaluated(task.network):
        return torch.cat([losses_of(task.network, task.held_out(i % task.epoch_held_out)) for i in numbers]).sort().values


@dataclass(frozen=True)
class BoundedForgetting:
    """The forget batches of a repair, and the unlearning loss, which is 0 for samples that have reached their bound.

    `expected` are the expected losses, sorted; `unbounded` (forget_size,) is True for samples without a bound; `pieces` are the
    forget batches alongside retain batches; `norms` is how batch norms treat them (`forget_pass`).
    """

    task: ClassifierTask
    expected: Tensor
    unbounded: Tensor
    pieces: Batches
    norms: str = "running"

    def forget(self, i: int) -> Batch:
        """Batch i, alongside retain batch i; at the start of an epoch the bounds are updated."""
        epoch, within = divmod(i, self.task.epoch_retain)
        if epoch >= FIXED_EPOCHS and not within and len(self.expected) > 1:
            self.set_bounds(epoch)
        return self.pieces(i)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """-log(1 - p), p the probability of the true class, for samples whose training loss is below their bound; 0 for others."""
        buffers, rows = dict(network.named_buffers()), batch["row"]

        def bounded_loss(network: nn.Module, batch: Batch) -> Tensor:
            scores, y = network(batch["x"]), batch["y"]
            losses = F.cross_entropy(scores, y, reduction="none").detach()
            buffers[LOSS][rows] = losses
            others = scores.scatter(1, y[:, None], -torch.inf)
            unlearn_losses: Tensor = scores.logsumexp(1) - others.logsumexp(1)  # -log(1 - p)
            return ((losses < buffers[BOUND][rows]) * unlearn_losses).mean()

        return forget_pass(bounded_loss, self.norms)(network, batch)

    def set_bounds(self, epoch: int) -> None:
        """The bound of a forget sample is the expected loss of its rank.

        Its rank is that of its loss when it was last in a batch: a sample that is hard once memory is cut was hard before it was
        learned. After FIXED_EPOCHS the bound moves half way, on a log scale, to the present held-out loss of that rank, up to MOST.
        """
        buffers = dict(self.task.network.named_buffers())
        losses = buffers[LOSS]
        quantiles = (losses.argsort().argsort() + 0.5) / len(losses)
        bound = torch.quantile(self.expected.to(losses), quantiles)
        if epoch >= FIXED_EPOCHS and self.task.held_out is not None:
            present = held_out_losses(self.task, range(epoch * HELD_OUT_BATCHES, (epoch + 1) * HELD_OUT_BATCHES))
            bound = (bound * torch.quantile(present.to(losses), quantiles)).sqrt().minimum(MOST * bound)
        buffers[BOUND].copy_(bound.masked_fill(self.unbounded, torch.inf))


@contextmanager
def bounded(
    task: ClassifierTask, expected: Tensor, pieces: Batches | None = None, norms: str = "running"
) -> Iterator[tuple[Batches, Loss]]:
    """Forget batches and unlearning loss of the repair of a trimmed network; within, their state is among its buffers.

    Samples of a class without a retain sample have no bound: a network that never saw the class does not know it at all. `pieces`
    are the forget batches of the steps, by default `alongside` retain batches.
    """
    losses = by_row(task, lambda batch: losses_of(task.network, batch))
    unbounded = absent(task)[by_row(task, lambda batch: batch["y"])]
    forgetting = BoundedForgetting(task, expected, unbounded, pieces or alongside(task, SHARE), norms)
    task.network.register_buffer(LOSS, losses, persistent=False)
    task.network.register_buffer(BOUND, torch.zeros_like(losses), persistent=False)
    try:
        forgetting.set_bounds(0)
        yield forgetting.forget, forgetting.loss
    finally:
        delattr(task.network, LOSS)
        delattr(task.network, BOUND)
