"""l1-sparse (Jia et al., NeurIPS 2023): fine-tune on the retain set with an L1 penalty that decays to zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


# The paper gives a range of gamma, from 1e-6 to 1e-4; scripts have its upper end, and twice that in one cell.
RELEASED = Released(
    both={"l1": 1e-4},
    paper={"learning_rate": 0.1},
    reference={"learning_rate": 0.01},
    datasets={"celeba": {"epochs": 3, "learning_rate": 1e-3, "l1": 1e-3}},
    script_shares={"cifar100": {"50": {"l1": 2e-4}}},
)


@dataclass(frozen=True)
class L1Sparse(SGDMethod):
    """Descend L_r + gamma_t ||w||_1 (its Eq. 3), with the subgradient gamma_t sign(w), 0 at 0; biases and gains are penalised too."""

    l1: float = option(1e-4, "gamma: weight of the L1 norm of all weights", low=0.0)
    schedule: str = option(
        "decreasing",
        "gamma over the epochs: from gamma down towards 0 (the paper's choice), constant, or up to gamma",
        choices=("decreasing", "constant", "increasing"),
    )
    weight_decay: float = option(5e-4, "weight decay, in addition to the L1 penalty", low=0.0)

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on retain batches; a Step after each optimizer step."""
        import torch

        from erase.training.sgd_loop import descend

        def objective(i: int) -> tuple[Tensor, Tensor]:
            norm = torch.stack([weight.abs().sum() for weight in task.weights.values()]).sum()
            return task.loss(task.network, task.retain(i)), self.gamma(i // task.epoch_retain) * norm

        steps = self.epochs * task.epoch_retain
        yield from descend(task, objective, steps, method="l1_sparse", optimizer=self.optimizer, resume=resume)

    def gamma(self, epoch: int) -> float:
        """gamma_t of an epoch, counted from 0."""
        share = {"decreasing": 1 - epoch / self.epochs, "constant": 1.0, "increasing": (epoch + 1) / self.epochs}
        return self.l1 * share[self.schedule]
