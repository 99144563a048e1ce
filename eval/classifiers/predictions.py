"""What a classifier says of samples: logits, accuracy, confidence in the true class. Leaves the network as it was."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erase.classifiers.datasets import Samples

CHUNK = 500  # samples at a time


@torch.no_grad()
def logits(network: nn.Module, samples: Samples) -> Tensor:
    """(n, classes) float32 on the host, in eval mode: neither dropout nor the batch statistics of others play a part."""
    device = next(network.parameters()).device
    flags = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        rows = torch.arange(len(samples)).split(CHUNK)
        return torch.cat([network(samples.batch(part)["x"].to(device)).float().cpu() for part in rows])
    finally:
        for module, flag in flags:
            module.training = flag


def accuracy(outputs: Tensor, y: Tensor) -> float:
    """Percent of samples whose largest logit is that of their class."""
    return 100 * float((outputs.argmax(1) == y.cpu()).double().mean())


def confidence(outputs: Tensor, y: Tensor) -> Tensor:
    """Softmax probability of the true class, (n,) float64: in float32 the confident ones would all be 1."""
    return outputs.double().softmax(1).gather(1, y.cpu()[:, None])[:, 0]
