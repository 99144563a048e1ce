"""Start a larger network where a smaller one ended: what both have is copied, what is new does nothing yet.

New layers of a residual network change nothing while their last matrix is zero (Chen et al. 2016, Net2Net, by other means), so
the larger one computes what the smaller did, and training goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LAST = ("to_out.0", "ff.net.2", "out_proj", "fc2")  # what writes into the residual stream of a UNet's or a CLIP's transformer


@torch.no_grad()
def grow(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `network`; layers that they lack become silent."""
    own = network.state_dict()
    if unknown := sorted(weights.keys() - own.keys()):
        raise ValueError(f"the larger network has no {unknown[0]}")
    for name, tensor in own.items():
        if name in weights:
            tensor.copy_(weights[name])
        elif any(f"{last}." in name for last in LAST):
            tensor.zero_()


@torch.no_grad()
def keep_words(embedding: nn.Embedding, weights: Tensor, old: Mapping[str, int], new: Mapping[str, int]) -> None:
    """The rows of the tokens that both vocabularies have; the others stay as they are."""
    shared = [token for token in new if token in old]
    embedding.weight[[new[token] for token in shared]] = weights[[old[token] for token in shared]].to(embedding.weight)
