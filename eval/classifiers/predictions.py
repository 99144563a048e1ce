"""Predictions of a classifier: logits, accuracy and confidence in the true class. The network is left unchanged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erase.classifiers.datasets import Samples
from erase.training.modes import evaluated

CHUNK = 500
"""Samples per forward pass."""


@torch.no_grad()
def logits(network: nn.Module, samples: Samples) -> Tensor:
    """(n, classes) float32 on the CPU, in eval mode, so that a sample's logits do not depend on dropout or on the other samples."""
    device = next(network.parameters()).device
    with evaluated(network):
        rows = torch.arange(len(samples)).split(CHUNK)
        return torch.cat([network(samples.batch(part)["x"].to(device)).float().cpu() for part in rows])


def accuracy(outputs: Tensor, y: Tensor) -> float:
    """Percent of samples whose largest logit is that of their class y."""
    return 100 * float((outputs.argmax(1) == y.cpu()).double().mean())


def confidence(outputs: Tensor, y: Tensor) -> Tensor:
    """Softmax probability of the true class, (n,) float64: in float32 confident predictions would all be 1."""
    return outputs.double().softmax(1).gather(1, y.cpu()[:, None])[:, 0]
