"""Products with the curvature of a classifier's loss, and linear systems solved with them by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from erase.classifiers.task import ClassifierTask
from erase.task import Batches

Vector = list[Tensor]
"""One tensor per weight."""

Product = Callable[[Vector], Vector]
"""v -> A v, for a symmetric positive definite A."""


def curvature_product(task: ClassifierTask, batches: int, *, gauss_newton: bool, damping: float) -> Product:
    """v -> (F + damping I) v, with F over the first `batches` retain batches, without forming F.

    F is the Gauss-Newton matrix E[J' H J] or the empirical Fisher matrix E[g g']. J v is a derivative of J'u by u, then J' is applied.
    """

    def product(v: Vector) -> Vector:
        weights, total, n = list(task.weights.values()), [torch.zeros_like(x) for x in v], 0
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fast attention kernels have no second derivative
            for i in range(batches):
                batch = task.retain(i)
                scores = task.network(batch["x"])
                u = torch.zeros_like(scores, requires_grad=True)
                back = torch.autograd.grad(scores, weights, u, create_graph=True, allow_unused=True, materialize_grads=True)
                (forward,) = torch.autograd.grad(back, u, v)
                outer = _outer_product(scores.detach(), batch["y"], forward.detach(), gauss_newton)
                part = torch.autograd.grad(scores, weights, outer, allow_unused=True, materialize_grads=True)
                torch._foreach_add_(total, part)
                n += len(outer)
        return [t / n + damping * x for t, x in zip(total, v, strict=True)]

    return product


def _outer_product(scores: Tensor, labels: Tensor, v: Tensor, gauss_newton: bool) -> Tensor:
    """The matrix between J' and J for cross-entropy, times v, per sample: r r' with r = p - y, or diag(p) - p p'."""
    p = scores.softmax(1)
    if gauss_newton:
        return p * (v - (p * v).sum(1, keepdim=True))
    r = p - torch.nn.functional.one_hot(labels, p.shape[1])
    return r * (r * v).sum(1, keepdim=True)


def mean_gradient(task: ClassifierTask, batches: Batches, count: int) -> tuple[float, Vector, int]:
    """The mean loss over the samples of `count` batches, its gradient for every weight, and the number of samples."""
    weights = list(task.weights.values())
    total, loss_sum, n = [torch.zeros_like(weight) for weight in weights], 0.0, 0
    for i in range(count):
        batch = batches(i)
        with torch.enable_grad():
            loss = task.loss(task.network, batch) * len(batch["y"])
            gradient = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        torch._foreach_add_(total, gradient)
        loss_sum, n = loss_sum + float(loss.detach()), n + len(batch["y"])
    return loss_sum / n, [t / n for t in total], n


def conjugate_gradients(product: Product, target: Vector, iterations: int) -> Vector:
    """x with product(x) = target, starting from 0 (Hestenes and Stiefel 1952)."""
    x = [torch.zeros_like(t) for t in target]
    residual = [t.clone() for t in target]
    direction, size = [r.clone() for r in residual], _dot(residual, residual)
    first = size
    for _ in range(iterations):
        if not size > 1e-12 * first:
            break
        image = product(direction)
        step = size / _dot(direction, image)
        torch._foreach_add_(x, direction, alpha=step)
        torch._foreach_add_(residual, image, alpha=-step)
        size, before = _dot(residual, residual), size
        direction = [r + (size / before) * d for r, d in zip(residual, direction, strict=True)]
    return x


def _dot(a: Vector, b: Vector) -> float:
    return float(torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum())
