"""Gradient projection: the retaining gradient, bent as little as need be so that a step along it does not undo forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Projected(NamedTuple):
    """g, tensor by tensor, and how it came about; the numbers are 0-dimensional tensors on the gradients' device."""

    gradient: list[Tensor]
    dot: Tensor
    """<g_r, g_u>"""
    norm_r: Tensor
    norm_u: Tensor
    coefficient: Tensor
    """c in g = g_r + c g_u"""


@torch.no_grad()
def project(retain: Sequence[Tensor], unlearn: Sequence[Tensor], forget_weight: float, enabled: bool = True) -> Projected:
    """g = g_r + c g_u with c = max(λ, -<g_r, g_u> / ||g_u||²): the solution of Eq. 5, in closed form.

    A step against g lowers the unlearning loss U, to first order, as long as <g, g_u> >= 0. Of all such g we want the
    one nearest to the gradient of L_r + λ U:

        min_g  ½ ||g - (g_r + λ g_u)||²   subject to   <g, g_u> >= 0.

    With a multiplier v >= 0 for the one constraint, setting the derivative by g to zero gives g = g_r + (λ + v) g_u.
    Put back, the dual is a parabola in one scalar unknown,

        min_{v >= 0}  ½ v² ||g_u||² + v (<g_r, g_u> + λ ||g_u||²),

    with its lowest point at v = max(0, -<g_r, g_u> / ||g_u||² - λ). Then c = λ + v. When v is 0 the constraint holds
    anyway; otherwise g is g_r without its part along g_u, which the length of g_u does not change. Without g_u, c = λ.

    The promise holds for a step along -g. An adaptive optimizer rescales g, and the step itself may still reduce
    forgetting to first order.

    `retain` is overwritten with g and handed back as `gradient`; `unlearn` is left alone. Products are summed in
    float32 (float64 for float64 gradients), those of tensors in float64 where the device has it; nothing is copied to
    the host. With enabled=False c is λ, and the numbers are still reported.
    """
    dot, square_r, square_u = _inner(retain, unlearn), _inner(retain, retain), _inner(unlearn, unlearn)
    coefficient = torch.full_like(dot, forget_weight)
    if enabled:
        needed = torch.where(square_u > 0, -dot / square_u, -torch.inf)
        coefficient = torch.maximum(coefficient, needed)
    for r, u in zip(retain, unlearn, strict=True):
        # Half-precision gradients meet c in float32: c itself may lie outside float16's range.
        torch.addcmul(r, u.to(_sums(u)), coefficient.to(u.device, _sums(u)), out=r)
    return Projected(list(retain), dot, square_r.sqrt(), square_u.sqrt(), coefficient)


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """<a, b> over lists of tensors, on the device of the first."""
    place = a[0].device
    dots = [torch.dot(x.flatten().to(_sums(x)), y.flatten().to(_sums(y))) for x, y in zip(a, b, strict=True)]
    total = torch.float32 if place.type == "mps" else torch.float64
    return torch.stack([d.to(place, total) for d in dots]).sum()


def _sums(tensor: Tensor) -> torch.dtype:
    """The type in which products of this tensor are summed."""
    return torch.promote_types(tensor.dtype, torch.float32)
