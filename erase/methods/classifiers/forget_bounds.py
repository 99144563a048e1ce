"""How far to forget: for each forget sample the loss at which it counts as forgotten, that of samples never seen.

Knows a ClassifierTask; knows no method. Bounds move with the network, so they are among its buffers while it is repaired: a
snapshot then has them, and a run that stopped goes on exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.classifiers.task import ClassifierTask, absent, alongside, by_row, evaluated, forgotten
from erase.task import Batch, Batches, Loss

STILL = 2  # epochs in which bounds stay what the original says: a network that was just trimmed is unsure of everything
PROBED = 2  # held-out batches that are looked at anew in each later epoch
MOST = 1.5  # times what the original says: else forgetting, which makes held-out losses larger, would ask for more forgetting
SHARE = 0.5  # of a retain batch is a forget piece at most: half the time, and no worse
LOST, BOUND = "forgetting_lost", "forgetting_bound"


def losses(network: nn.Module, batch: Batch) -> Tensor:
    """The training loss of each sample, (n,)."""
    return F.cross_entropy(network(batch["x"]), batch["y"], reduction="none")


def expected_losses(task: ClassifierTask, bound: float | None) -> Tensor:
    """Losses that a network without the forget set is expected to have on it: (m,), sorted.

    They are the network's own on held-out samples, as it is handed in, made larger as the data gets smaller, as 1 / n. Or one
    for all: `bound`, or where nothing is held out that of chance.
    """
    if bound is not None or task.held_out is None:
        return torch.tensor([math.log(task.classes) if bound is None else bound])
    lost = held_out_losses(task, range(task.epoch_held_out))
    return lost * (1 + task.forget_size / task.retain_size)


@torch.no_grad()
def held_out_losses(task: ClassifierTask, numbers: range) -> Tensor:
    """The losses on these held-out batches in eval mode, sorted."""
    assert task.held_out is not None
    with evaluated(task.network):
        return torch.cat([losses(task.network, task.held_out(i % task.epoch_held_out)) for i in numbers]).sort().values


@dataclass(frozen=True)
class Aim:
    """The forget batches of a repair, and the loss that descends on them until each sample has reached its bound."""

    task: ClassifierTask
    expected: Tensor
    gone: Tensor
    pieces: Batches

    def forget(self, i: int) -> Batch:
        """Batch i, alongside retain batch i; at the start of an epoch the bounds are set anew."""
        epoch, within = divmod(i, self.task.epoch_retain)
        if epoch >= STILL and not within and len(self.expected) > 1:
            self.set_bounds(epoch)
        return self.pieces(i)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """-log(1 - p), p the probability of the true class, for samples whose training loss is below their bound; 0 for others."""
        buffers, rows = dict(network.named_buffers()), batch["row"]

        def doubt(network: nn.Module, batch: Batch) -> Tensor:
            scores, y = network(batch["x"]), batch["y"]
            lost = F.cross_entropy(scores, y, reduction="none").detach()
            buffers[LOST][rows] = lost
            others = scores.scatter(1, y[:, None], -torch.inf)
            doubted: Tensor = scores.logsumexp(1) - others.logsumexp(1)
            return ((lost < buffers[BOUND][rows]) * doubted).mean()

        return forgotten(doubt)(network, batch)

    def set_bounds(self, epoch: int) -> None:
        """Each forget sample gets the expected loss of its rank among them; later, half way (on a log scale) to today's, up to MOST.

        Its rank is that of its loss when it was last seen: what is hard once memory is cut was hard before it was learned.
        """
        buffers = dict(self.task.network.named_buffers())
        lost = buffers[LOST]
        quantiles = (lost.argsort().argsort() + 0.5) / len(lost)
        bound = torch.quantile(self.expected.to(lost), quantiles)
        if epoch >= STILL and self.task.held_out is not None:
            today = held_out_losses(self.task, range(epoch * PROBED, (epoch + 1) * PROBED))
            bound = (bound * torch.quantile(today.to(lost), quantiles)).sqrt().minimum(MOST * bound)
        buffers[BOUND].copy_(bound.masked_fill(self.gone, torch.inf))


@contextmanager
def aim(task: ClassifierTask, expected: Tensor) -> Iterator[tuple[Batches, Loss]]:
    """Forget batches and unlearning loss of a repair, whose state is among the network's buffers within; it is the trimmed one.

    Samples of a class that no retain sample has are without bound: who never saw the class does not know it at all.
    """
    lost = by_row(task, lambda batch: losses(task.network, batch))
    gone = absent(task)[by_row(task, lambda batch: batch["y"])]
    made = Aim(task, expected, gone, alongside(task, SHARE))
    task.network.register_buffer(LOST, lost, persistent=False)
    task.network.register_buffer(BOUND, torch.zeros_like(lost), persistent=False)
    try:
        made.set_bounds(0)
        yield made.forget, made.loss
    finally:
        delattr(task.network, LOST)
        delattr(task.network, BOUND)
