"""Boundary shrink (BS; Chen et al., CVPR 2023): move each forget sample to the class across its nearest decision boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.sgd_method import SGDMethod
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Batch, Step


@dataclass(frozen=True)
class BoundaryShrink(SGDMethod):
    """Label every forget sample with the wrong class that one FGSM step finds nearest in the original; train on these labels.

    Its Eqs. 3 to 5: x' = x + bound sign(dL/dx), y' = argmax of the original's scores at x' over the wrong classes. (Where the
    step crosses no boundary the paper does not say what to do, and published code keeps the true label; here it is the
    runner-up, so that every label is wrong.)
    """

    bound: float = option(0.1, "length of the FGSM step, in units of the input", above=0.0)
    epochs: int = option(10, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "learning rate", above=0.0)

    presets: ClassVar[Presets] = {
        "balanced": {},
        "cifar10": {"learning_rate": 1e-6},
        "cifar100": {"learning_rate": 1e-6},
        "svhn": {"learning_rate": 1e-6},
        "celeba": {"epochs": 5, "learning_rate": 1e-5},
    }

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; it is the original, also when resuming. A Step after each optimizer step."""
        from erase.classifiers.task import with_running_statistics
        from erase.training.sgd_loop import descend, forget_only

        labels, loss = self.nearest_labels(task), with_running_statistics(task.loss)

        def relabelled_loss(i: int) -> Tensor:
            batch = task.forget(i)
            return loss(task.network, {**batch, "y": labels[batch["row"]]})

        steps = self.epochs * task.epoch_forget
        objective = forget_only(relabelled_loss)
        yield from descend(task, objective, steps, method="boundary_shrink", optimizer=self.optimizer, resume=resume)

    def nearest_labels(self, task: ClassifierTask) -> Tensor:
        """For every forget row the nearest wrong class, according to the network as it is now."""
        import torch

        from erase.classifiers.task import by_row

        def nearest(batch: Batch) -> Tensor:
            x = batch["x"].detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(task.loss(task.network, {**batch, "x": x}), x)
            with torch.no_grad():
                scores: Tensor = task.network(x + self.bound * gradient.sign())
                return scores.scatter(1, batch["y"][:, None], -torch.inf).argmax(1)

        return by_row(task, nearest)
