"""Gradient projection: the smallest change to the gradient of L_r + λ U such that a step along it does not undo forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from erase.errors import InputError


@dataclass(frozen=True)
class Projection:
    """What is projected, and how.

    `target` is the gradient (Eq. 5), the update that the optimizer makes of it (`project_update`), or none. `two_sided` and
    `per_layer` are explained at `project`.
    """

    target: Literal["none", "gradient", "update"] = "gradient"
    two_sided: bool = False
    per_layer: bool = False

    def __post_init__(self) -> None:
        if self.two_sided and self.target != "gradient":
            raise InputError(f"a two-sided projection needs the target 'gradient'; got {self.target!r}", option="two_sided")
        if self.per_layer and self.target == "none":
            raise InputError("a projection per layer needs the target 'gradient' or 'update'; got 'none'", option="per_layer")


class Projected(NamedTuple):
    """g, tensor by tensor, and the numbers behind it, as 0-dimensional tensors on the gradients' device."""

    gradient: list[Tensor]
    dot: Tensor
    """<g_r, g_u>"""
    norm_r: Tensor
    norm_u: Tensor
    coefficient: Tensor
    """c in g = g_r + c g_u"""


@torch.no_grad()
def project(
    retain: Sequence[Tensor],
    unlearn: Sequence[Tensor],
    forget_weight: float,
    projection: Projection = Projection(),
) -> Projected:
    """g = g_r + c g_u with c = max(λ, -<g_r, g_u> / ||g_u||²): the solution of Eq. 5, in closed form.

    A step along -g does not raise the unlearning loss U, to first order, if <g, g_u> >= 0. Among all such g we choose
    the one nearest to the gradient of L_r + λ U:

        min_g  ½ ||g - (g_r + λ g_u)||²   subject to   <g, g_u> >= 0.

    With a multiplier v >= 0 for the constraint, setting the derivative by g to zero gives g = g_r + (λ + v) g_u.
    Substituted, the dual is a parabola in one scalar unknown,

        min_{v >= 0}  ½ v² ||g_u||² + v (<g_r, g_u> + λ ||g_u||²),

    with its minimum at v = max(0, -<g_r, g_u> / ||g_u||² - λ). Then c = λ + v. When v is 0 the constraint already
    holds; otherwise g is g_r without its component along g_u, whatever the length of g_u. Where g_u is zero, c = λ.

    The guarantee holds for a step along -g. An adaptive optimizer rescales g, and its step may still undo
    forgetting to first order; `project_update` gives the guarantee for the optimizer's step.

    `two_sided` is the restricted gradient (Ko et al., NeurIPS 2024, arXiv 2412.07808). Where <g_r, g_u> < 0, the
    component of each along the other is removed before they are added:

        g = (1 - λ <g_r, g_u> / ||g_r||²) g_r + (λ - <g_r, g_u> / ||g_u||²) g_u,

    so that <g, g_u> >= 0 and <g, g_r> >= 0: neither loss rises, to first order. c is the second factor.

    With `per_layer` each tensor is projected on its own, with its own c: no tensor's part of the step may undo
    forgetting, even where the others would outweigh it. `coefficient` is then the mean of the c, weighted by ||g_u||²,
    which is the single c with the same <g, g_u>.

    `retain` is overwritten with g and returned as `gradient`; `unlearn` is not changed. Products are summed in
    float32 (float64 for float64 gradients), sums over tensors in float64 where the device has it; nothing is copied to
    the host. With a target other than "gradient" c is λ, and the numbers are still reported.
    """
    dots, squares_r, squares_u = _inner(retain, unlearn), _squares(retain), _squares(unlearn)
    dot, square_r, square_u = dots.sum(), squares_r.sum(), squares_u.sum()
    per = (dots, squares_r, squares_u) if projection.per_layer else (dot, square_r, square_u)
    a, c = _factors(*per, forget_weight, projection)
    for r, u, a_l, c_l in zip(retain, unlearn, a.expand(len(dots)), c.expand(len(dots)), strict=True):
        if projection.two_sided:
            r.mul_(a_l.to(r.device, _sums(r)))
        # Half-precision gradients are multiplied by c in float32: c may lie outside the range of float16.
        torch.addcmul(r, u.to(_sums(u)), c_l.to(u.device, _sums(u)), out=r)
    if projection.per_layer:
        c = torch.where(square_u > 0, (c * squares_u).sum() / square_u, torch.full_like(dot, forget_weight))
    return Projected(list(retain), dot, square_r.sqrt(), square_u.sqrt(), c)


def _factors(dot: Tensor, square_r: Tensor, square_u: Tensor, forget_weight: float, projection: Projection) -> tuple[Tensor, Tensor]:
    """a and c in g = a g_r + c g_u."""
    a, c = torch.ones_like(dot), torch.full_like(dot, forget_weight)
    if projection.target != "gradient":
        return a, c
    if projection.two_sided:
        # With opposed gradients neither is zero.
        opposed = dot < 0
        return torch.where(opposed, a - forget_weight * dot / square_r, a), torch.where(opposed, c - dot / square_u, c)
    return a, torch.maximum(c, torch.where(square_u > 0, -dot / square_u, -torch.inf))


@torch.no_grad()
def project_update(weights: Sequence[Tensor], before: Sequence[Tensor], unlearn: Sequence[Tensor], per_layer: bool = False) -> Tensor:
    """Project the step that an optimizer has just taken, so that it does not undo forgetting.

    With Δ = w - w_before, the step nearest to Δ among those that do not raise U to first order is

        min_Δ'  ½ ||Δ' - Δ||²   subject to   <Δ', g_u> <= 0.

    A multiplier v >= 0 gives Δ' = Δ - v g_u, and the constraint holds with v = max(0, <Δ, g_u> / ||g_u||²): a positive
    component along g_u is removed. Whatever the optimizer did (momentum, Adam's rescaling, weight
    decay), the guarantee of Eq. 5 then holds for the step that is taken. After a plain step Δ = -η (g_r + λ g_u) this is

        v = η max(0, -<g_r, g_u> / ||g_u||² - λ),   Δ' = -η (g_r + c g_u),   c of Eq. 5:

    the same as projecting the gradient. Δ' is never longer than Δ.

    Changes `weights` in place, overwrites `before`, does not change `unlearn`; with `per_layer` each tensor is projected on its own.
    Returns v on the device, with `per_layer` its mean weighted by ||g_u||². Precision as in `project`, up to the rounding of the weights.
    """
    torch._foreach_sub_(list(before), list(weights))  # -Δ
    dots, squares = -_inner(before, unlearn), _squares(unlearn)
    along, square = (dots, squares) if per_layer else (dots.sum(), squares.sum())
    v = torch.where(square > 0, along / square, 0.0).clamp(min=0.0)
    for w, u, v_l in zip(weights, unlearn, v.expand(len(dots)), strict=True):
        torch.addcmul(w, u.to(_sums(u)), v_l.to(u.device, _sums(u)), value=-1, out=w)
    total = squares.sum()
    return torch.where(total > 0, (v * squares).sum() / total, 0.0) if per_layer else v


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """<a, b> tensor by tensor, on the device of the first."""
    dots = [torch.dot(x.flatten().to(_sums(x)), y.flatten().to(_sums(y))) for x, y in zip(a, b, strict=True)]
    return _together(dots)


def _squares(a: Sequence[Tensor]) -> Tensor:
    """<a, a> tensor by tensor, on the device of the first."""
    if all(x.is_cuda for x in a):
        # One kernel for all tensors, with tree summation. On the CPU it is no faster than dot, with three times the rounding error.
        narrow = torch.float64 if any(x.dtype == torch.float64 for x in a) else torch.float32
        return _together(torch._foreach_norm(list(a), 2, narrow)).square()
    return _inner(a, a)


def _together(numbers: Sequence[Tensor]) -> Tensor:
    place = numbers[0].device
    return torch.stack([x.to(place, torch.float32 if place.type == "mps" else torch.float64) for x in numbers])


def _sums(tensor: Tensor) -> torch.dtype:
    """The dtype in which products of this tensor are summed."""
    return torch.promote_types(tensor.dtype, torch.float32)
