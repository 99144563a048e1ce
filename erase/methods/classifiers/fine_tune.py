"""Fine-tuning on the retain set alone (FT), so that the forget set fades because it is not rehearsed (Warnecke et al., NDSS 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import SGDMethod

if TYPE_CHECKING:
    from torch import Tensor

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step


@dataclass(frozen=True)
class FineTune(SGDMethod):
    """Continue training on retain batches; the forget set is never used."""

    presets: ClassVar[Presets] = Released(
        paper={"learning_rate": 0.1}, reference={"learning_rate": 0.01}, datasets={"celeba": {"epochs": 5, "learning_rate": 1e-4}}
    ).presets()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place on retain batches; a Step after each optimizer step."""
        from erase.training.sgd_loop import descend, retain_only

        steps = self.epochs * task.epoch_retain
        yield from descend(task, retain_only(task), steps, method="fine_tune", optimizer=self.optimizer, resume=resume)
