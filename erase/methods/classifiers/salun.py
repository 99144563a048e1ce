"""SalUn (Fan et al., ICLR 2024): random labels, but only the weights with the largest forget gradient may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.relabelling import RELEASED as RANDOM_LABELS
from erase.methods.classifiers.relabelling import RelabellingMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


RELEASED = replace(
    RANDOM_LABELS,
    shares={
        **RANDOM_LABELS.shares,
        "cifar10": {"20": {"fraction": 0.4}, "50": {"learning_rate": 5e-2, "fraction": 0.2}},
    },
)


@dataclass(frozen=True)
class SalUn(RelabellingMethod):
    """Mask = 1(|gradient of the forget loss| >= gamma) (its Eq. 3); then L_f' + alpha L_r under the mask (its Eqs. 4 and 5).

    gamma is the quantile that leaves `fraction` of the weights; 1 / alpha is `forget_weight`. Weights outside the mask stay
    unchanged, bit for bit.
    """

    fraction: float = option(0.5, "share of the weights that may change: those with the largest gradients", above=0.0, high=1.0)
    weight_decay: float = option(5e-4, "weight decay of the weights that may change", low=0.0)

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train the masked weights of `task.network` in place; `task.network` is the original, also when resuming."""
        from erase.training.sgd_loop import descend

        mask = self.mask(task)
        objective, steps = self.objective(task), self.steps(task)
        yield from descend(task, objective, steps, method="salun", optimizer=self.optimizer, mask=mask, resume=resume)

    def mask(self, task: ClassifierTask) -> dict[str, Tensor]:
        """True at the `fraction` of weights with the largest |gradient| of the loss over the whole forget set."""
        import torch

        from erase.training.modes import evaluated
        from erase.trim import fraction_to_k, top_k_mask

        weights = list(task.weights.values())
        total = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        with evaluated(task.network), torch.enable_grad():
            for i in range(task.epoch_forget):
                batch = task.forget(i)
                loss = task.loss(task.network, batch) * len(batch["y"])
                gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
                torch._foreach_add_(total, [g.float() for g in gradients])
        magnitudes = {name: t.abs() for name, t in zip(task.weights, total, strict=True)}
        return top_k_mask(magnitudes, fraction_to_k(self.fraction, sum(t.numel() for t in total)))
