"""Influence unlearning (IU): one Newton-like step to where training without the forget set would have ended.

Koh and Liang (ICML 2017) give the influence of samples on the trained weights; Izzo et al. (AISTATS 2021) and Jia et al.
(NeurIPS 2023) unlearn with it, with the Fisher matrix for the Hessian as in WoodFisher (Singh and Alistarh, NeurIPS 2020).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from erase.classifiers.task import ClassifierTask, evaluated
from erase.errors import Diverged
from erase.options import check, option
from erase.task import Batches, Step
from erase.training.state import TrainingState

Vector = list[Tensor]


@dataclass(frozen=True)
class Influence:
    """w + strength (F + damping I)^-1 (n_f / n) (grad L_f - grad L_r), n = n_f + n_r, F over retain samples.

    The forget samples lose their weight 1/n and the retain samples gain n_f / (n n_r) each, so that theirs is 1/n_r; to first
    order the weights that minimise the loss move by this. The inverse is applied by conjugate gradients, exactly up to
    `iterations`; WoodFisher's recursion in published code approximates it further.
    """

    strength: float = option(1.0, "alpha: length of the step; 1 is the estimate itself", low=0.0)
    curvature: str = option(
        "fisher", "F: the empirical Fisher matrix, E[g g'], or the Gauss-Newton matrix, E[J' H J]", choices=("fisher", "gauss-newton")
    )
    damping: float = option(1.0, "added to the diagonal of F; WoodFisher's recursion starts from 1", above=0.0)
    samples: int = option(1000, "retain samples, about, that F is made from", low=1)
    iterations: int = option(10, "of conjugate gradients, a pass over the samples each", low=1)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"strength": 10.0},
        "cifar100": {"strength": 1.0},
        "svhn": {"strength": 10.0},
        "celeba": {"strength": 5.0},
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Move `task.network` in place, in eval mode throughout; one Step."""
        state = TrainingState(task.network, task.weights)
        if resume is not None:
            state.load_state_dict(resume)
            return
        start = time.perf_counter()
        with evaluated(task.network):
            forget_loss, forget, n_f = mean_gradient(task, task.forget, task.epoch_forget)
            retain_loss, retain, n_r = mean_gradient(task, task.retain, task.epoch_retain)
            wanted = [(f - r) * (n_f / (n_f + n_r)) for f, r in zip(forget, retain, strict=True)]
            batches = max(1, min(task.epoch_retain, round(self.samples * task.epoch_retain / n_r)))
            step = solve(lambda v: self.product(task, v, batches), wanted, self.iterations)
        if not all(bool(torch.isfinite(s).all()) for s in step):
            raise Diverged(1, "the step of influence")
        with torch.no_grad():
            for weight, s in zip(task.weights.values(), step, strict=True):
                weight.add_(s, alpha=self.strength)
        state.step = 1
        step = Step.plain(1, retain_loss, -forget_loss, time.perf_counter() - start, snapshot=state.state_dict)
        yield replace(step, coefficient=self.strength)

    def product(self, task: ClassifierTask, v: Vector, batches: int) -> Vector:
        """(F + damping I) v, without F: J v by a derivative of J'u by u, then J' of what the loss makes of it."""
        held, total, n = list(task.weights.values()), [torch.zeros_like(x) for x in v], 0
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fast kernels of attention have no second derivative
            for i in range(batches):
                batch = task.retain(i)
                scores = task.network(batch["x"])
                u = torch.zeros_like(scores, requires_grad=True)
                back = torch.autograd.grad(scores, held, u, create_graph=True, allow_unused=True, materialize_grads=True)
                (pushed,) = torch.autograd.grad(back, u, v)
                bent = self.bend(scores.detach(), batch["y"], pushed.detach())
                found = torch.autograd.grad(scores, held, bent, allow_unused=True, materialize_grads=True)
                torch._foreach_add_(total, found)
                n += len(bent)
        return [t / n + self.damping * x for t, x in zip(total, v, strict=True)]

    def bend(self, scores: Tensor, labels: Tensor, pushed: Tensor) -> Tensor:
        """What stands between J' and J for cross-entropy, sample by sample: r r' with r = p - y, or diag(p) - p p'."""
        p = scores.softmax(1)
        if self.curvature == "gauss-newton":
            return p * (pushed - (p * pushed).sum(1, keepdim=True))
        r = p - torch.nn.functional.one_hot(labels, p.shape[1])
        return r * (r * pushed).sum(1, keepdim=True)


def mean_gradient(task: ClassifierTask, batches: Batches, count: int) -> tuple[float, Vector, int]:
    """The mean loss over the samples of `count` batches, its gradient by every weight, and how many they are."""
    held = list(task.weights.values())
    total, lost, n = [torch.zeros_like(weight) for weight in held], 0.0, 0
    for i in range(count):
        batch = batches(i)
        with torch.enable_grad():
            value = task.loss(task.network, batch) * len(batch["y"])
            found = torch.autograd.grad(value, held, allow_unused=True, materialize_grads=True)
        torch._foreach_add_(total, found)
        lost, n = lost + float(value.detach()), n + len(batch["y"])
    return lost / n, [t / n for t in total], n


def solve(product: Callable[[Vector], Vector], wanted: Vector, iterations: int) -> Vector:
    """x with product(x) = wanted, by conjugate gradients from 0 (Hestenes and Stiefel 1952)."""
    x = [torch.zeros_like(w) for w in wanted]
    residual = [w.clone() for w in wanted]
    direction, size = [r.clone() for r in residual], _dot(residual, residual)
    first = size
    for _ in range(iterations):
        if not size > 1e-12 * first:
            break
        pushed = product(direction)
        step = size / _dot(direction, pushed)
        torch._foreach_add_(x, direction, alpha=step)
        torch._foreach_add_(residual, pushed, alpha=-step)
        size, before = _dot(residual, residual), size
        direction = [r + (size / before) * d for r, d in zip(residual, direction, strict=True)]
    return x


def _dot(a: Vector, b: Vector) -> float:
    return float(torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum())
