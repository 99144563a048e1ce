"""Influence unlearning (IU): one Newton-like step to where training without the forget set would have ended.

Koh and Liang (ICML 2017) give the influence of samples on the trained weights; Izzo et al. (AISTATS 2021) and Jia et al.
(NeurIPS 2023) unlearn with it, with the Fisher matrix for the Hessian as in WoodFisher (Singh and Alistarh, NeurIPS 2020).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.errors import Diverged
from erase.methods.base import ClassifierMethod, Presets
from erase.methods.classifiers.released import Released
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


# The paper gives a range of alpha, from 1 to 20; these are the script's.
RELEASED = Released(
    datasets={"cifar10": {"strength": 10.0}, "cifar100": {"strength": 20.0}, "svhn": {"strength": 15.0}, "celeba": {"strength": 5.0}},
    shares={
        "cifar100": {"20": {"strength": 5.0}, "50": {"strength": 2.0}},
        "svhn": {"20": {"strength": 5.0}, "class": {"strength": 2.0}},
    },
)


@dataclass(frozen=True)
class Influence(ClassifierMethod):
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
    samples: int = option(1000, "approximate number of retain samples that F is estimated from", low=1)
    iterations: int = option(10, "conjugate gradient iterations, one pass over the samples each", low=1)

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Move `task.network` in place, in eval mode throughout; one Step."""
        import torch

        from erase.methods.classifiers.curvature import conjugate_gradients, curvature_product, mean_gradient
        from erase.task import Step
        from erase.training.modes import evaluated
        from erase.training.state import TrainingState

        state = TrainingState(task.network, task.weights)
        if resume is not None:
            state.load_state_dict(resume)
            return
        start = time.perf_counter()
        with evaluated(task.network):
            forget_loss, forget, n_f = mean_gradient(task, task.forget, task.epoch_forget)
            retain_loss, retain, n_r = mean_gradient(task, task.retain, task.epoch_retain)
            target = [(f - r) * (n_f / (n_f + n_r)) for f, r in zip(forget, retain, strict=True)]
            batches = max(1, min(task.epoch_retain, round(self.samples * task.epoch_retain / n_r)))
            product = curvature_product(task, batches, gauss_newton=self.curvature == "gauss-newton", damping=self.damping)
            delta = conjugate_gradients(product, target, self.iterations)
        if not all(bool(torch.isfinite(d).all()) for d in delta):
            raise Diverged(1, "the step of influence")
        with torch.no_grad():
            for weight, d in zip(task.weights.values(), delta, strict=True):
                weight.add_(d, alpha=self.strength)
        state.step = 1
        step = Step.plain(1, retain_loss, -forget_loss, time.perf_counter() - start, snapshot=state.state_dict)
        yield replace(step, coefficient=self.strength)
