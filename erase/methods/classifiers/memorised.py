"""How much there is to forget: by how much a network does better on the forget set than on samples that it never saw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erase.classifiers.task import ClassifierTask, absent, by_row
from erase.task import Batch
from erase.training.modes import evaluated

STEEP = 3
"""On plain digits, where the excess is 2 points, even a tenth of the usual share trimmed and of lambda costs more than it gains."""


@torch.no_grad()
def true_probabilities(network: nn.Module, batch: Batch) -> Tensor:
    """The probability of the true class of each sample, (n,)."""
    return network(batch["x"]).softmax(1).gather(1, batch["y"][:, None])[:, 0]  # type: ignore[no-any-return]


@torch.no_grad()
def excess(task: ClassifierTask) -> float:
    """The mean probability of the true class on the forget set minus that on held-out samples, in eval mode.

    Samples of a class without a retain sample are compared with 0: a network that was never trained on the class does not know it.
    """
    assert task.held_out is not None
    network = task.network
    known = by_row(task, lambda batch: true_probabilities(network, batch))
    with evaluated(network):
        unseen = torch.cat([true_probabilities(network, task.held_out(i)) for i in range(task.epoch_held_out)]).mean()
    gone = absent(task)[by_row(task, lambda batch: batch["y"])]
    return float((known - unseen.to(known) * ~gone).mean())


def share_to_forget(task: ClassifierTask, full: float) -> float:
    """From 0 to 1: the excess as a share of `full`, to the power of STEEP. 1 where `full` is 0, and without held-out samples, which leave
    the excess unknown.
    """
    if not full or task.held_out is None:
        return 1.0
    return float(min(1.0, max(0.0, excess(task) / full)) ** STEEP)
