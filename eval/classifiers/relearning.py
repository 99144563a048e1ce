"""Relearning: how fast an unlearned network learns its forget set again. Knowledge that is only hidden returns at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from erase.classifiers.datasets import Samples
from erase.task import generator
from eval.classifiers.predictions import accuracy, logits

RATE = 1e-3
"""The paper's learning rate."""


def relearned(network: nn.Module, forget: Samples, epochs: int, batch: int, rate: float = RATE, seed: int = 0) -> Iterator[float]:
    """Accuracy on the forget set, in percent, after each epoch of training a copy of the network on it by SGD with momentum 0.9.

    Batch norms keep their running statistics: a forget set of one class would shift them, and that is not relearning.
    """
    learner = copy.deepcopy(network).eval().requires_grad_(True)
    update = torch.optim.SGD(learner.parameters(), lr=rate, momentum=0.9)
    device = next(learner.parameters()).device
    for epoch in range(epochs):
        order = torch.randperm(len(forget), generator=generator(seed, "relearn", epoch))
        for rows in order.split(batch):
            b = forget.batch(rows)
            update.zero_grad()
            with torch.enable_grad():
                F.cross_entropy(learner(b["x"].to(device)), b["y"].to(device)).backward()
            update.step()
        yield accuracy(logits(learner, forget), forget.y)


def relearn_time(curve: Sequence[float], accuracy: float) -> int | None:
    """Epochs until the curve reaches this accuracy; None if it does not."""
    return next((epoch for epoch, value in enumerate(curve, 1) if value >= accuracy - 1e-9), None)
