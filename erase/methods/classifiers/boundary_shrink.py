"""Boundary shrink (BS; Chen et al., CVPR 2023): move each forget sample to the class across its nearest decision boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod, norms_option
from erase.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Batch, Step


# The step of 0.1 is in images from 0 to 1, which is 0.2 in ours from -1 to 1.
RELEASED = Released(
    both={"bound": 0.2, "learning_rate": 1e-6, "forget_norms": "batch"},
    paper={"moved": "clamped"},
    reference={"moved": "8-bit", "uncrossed": "true label"},
    datasets={"celeba": {"epochs": 5, "learning_rate": 1e-5}},
    shares={"cifar10": {"50": {"learning_rate": 5e-6}}, "cifar100": {"50": {"learning_rate": 1e-5}}},
)


@dataclass(frozen=True)
class BoundaryShrink(SGDMethod):
    """Label every forget sample with the wrong class that one FGSM step finds nearest in the original; train on these labels.

    Its Eqs. 3 to 5: x' = x + bound sign(dL/dx), y' = argmax of the original's scores at x' over the wrong classes. (Where the
    step crosses no boundary the paper does not say what to do, and published code keeps the true label; here it is by default
    the runner-up, so that every label is wrong.)
    """

    bound: float = option(0.1, "length of the FGSM step, in units of the input, which runs from -1 to 1", above=0.0)
    moved: str = option(
        "free",
        "the image after the step: free to leave its range, clamped to it, or also rounded to 8 bits",
        choices=("free", "clamped", "8-bit"),
        added_in="0.1.1",
    )
    uncrossed: str = option(
        "runner-up",
        "label of a sample whose step crosses no boundary: the runner-up, or the true label as in published code",
        choices=("runner-up", "true label"),
        added_in="0.1.1",
    )
    epochs: int = option(10, "epochs over the forget set", low=1)
    learning_rate: float = option(1e-3, "learning rate", above=0.0)

    forget_norms: str = norms_option()

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; it is the original, also when resuming. A Step after each optimizer step."""
        from erase.classifiers.task import forget_pass
        from erase.training.sgd_loop import descend, forget_only

        labels, loss = self.nearest_labels(task), forget_pass(task.loss, self.forget_norms)

        def relabelled_loss(i: int) -> Tensor:
            batch = task.forget(i)
            return loss(task.network, {**batch, "y": labels[batch["row"]]})

        steps = self.epochs * task.epoch_forget
        objective = forget_only(relabelled_loss)
        yield from descend(task, objective, steps, method="boundary_shrink", optimizer=self.optimizer, resume=resume)

    def nearest_labels(self, task: ClassifierTask) -> Tensor:
        """For every forget row the nearest other class, according to the network as it is now (see `uncrossed`)."""
        import torch

        from erase.classifiers.task import by_row

        def nearest(batch: Batch) -> Tensor:
            x = batch["x"].detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(task.loss(task.network, {**batch, "x": x}), x)
            with torch.no_grad():
                scores: Tensor = task.network(self.move(x, gradient))
                if self.uncrossed == "true label":
                    return scores.argmax(1)
                return scores.scatter(1, batch["y"][:, None], -torch.inf).argmax(1)

        return by_row(task, nearest)

    def move(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Images after the FGSM step, as `moved` says."""
        x = x + self.bound * gradient.sign()
        if self.moved == "free":
            return x
        x = x.clamp(-1.0, 1.0)
        # 8-bit images are whole multiples of 1 / 255 from 0 to 1; published code cuts the rest off.
        return x if self.moved == "clamped" else ((x + 1) * 127.5 + 1e-3).floor() / 127.5 - 1
