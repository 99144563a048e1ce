"""Random labels (RL): teach random labels for the forget set while rehearsing the retain set (Golatkar et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erase.methods.classifiers.relabelling import RelabellingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


@dataclass(frozen=True)
class RandomLabel(RelabellingMethod):
    """Descend L_r + w L_f', where L_f' is the loss on forget samples with random labels."""

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on both sets; a Step after each optimizer step."""
        from erase.training.sgd_loop import descend

        yield from descend(task, self.objective(task), self.steps(task), method="random_label", optimizer=self.optimizer, resume=resume)
