"""Arithmetic on weights: changes to a network without training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from erase.errors import InputError
from erase.trim import fraction_to_k, top_k_mask

Weights = dict[str, Tensor]


def weights_of(network: nn.Module) -> Weights:
    """A copy of every weight by its name."""
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


@torch.no_grad()
def put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the weights of a network."""
    for name, weight in network.named_parameters():
        weight.copy_(weights[name])


def same_names(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """InputError for the weights of networks with different parameters."""
    if strange := [name for name in {**a, **b} if name not in a or name not in b or a[name].shape != b[name].shape]:
        raise InputError(
            f"the original and this model have different parameters, e.g. {strange[0]}; give the original from which it was erased"
        )


def between(a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: float) -> Weights:
    """Linear interpolation from a (share 0) to b (share 1), bit-exact at both ends."""
    if share in (0.0, 1.0):
        return dict(b if share else a)
    return {name: torch.lerp(weight, b[name].to(weight), share) for name, weight in a.items()}


def plus(a: Mapping[str, Tensor], more: Mapping[str, Tensor], less: Mapping[str, Tensor], times: float) -> Weights:
    """Task arithmetic (Ilharco et al., arXiv 2212.04089): a + times (more - less)."""
    return {name: weight + times * (more[name] - less[name]).to(weight) for name, weight in a.items()}


def rounded(weights: Mapping[str, Tensor], bits: int) -> Weights:
    """Round to nearest, symmetric, with a scale for each output channel; matrices and kernels only.

    w -> s round(w / s), s = max|w| / (2^(bits - 1) - 1) over the channel: what weight-only quantisation without calibration does.
    """
    top = 2 ** (bits - 1) - 1
    results = dict(weights)
    for name, weight in weights.items():
        if weight.ndim > 1:
            scale = (weight.flatten(1).abs().amax(dim=1) / top).clamp(min=torch.finfo(weight.dtype).tiny)
            scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
            results[name] = (weight / scale).round().clamp(-top, top) * scale
    return results


def most_moved(now: Mapping[str, Tensor], before: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """Of the tensors that the erasure changed, the `fraction` of entries with the largest change, as masks."""
    far = {name: (weight - before[name].to(weight)).abs().float() for name, weight in now.items()}
    far = {name: distance for name, distance in far.items() if bool(distance.any())}
    return top_k_mask(far, fraction_to_k(fraction, sum(map(Tensor.numel, far.values())))) if far else {}


@torch.no_grad()
def keep_outside(network: nn.Module, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Set every entry outside the masks back to these weights."""
    for name, weight in network.named_parameters():
        weight.copy_(torch.where(masks[name], weight, weights[name]) if name in masks else weights[name])
