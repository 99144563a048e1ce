"""Few-shot unlearning (Fuchi and Takagi, BMVC 2024): the text encoder, ascending the training loss on a handful of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.methods.base import DiffusionMethod, Presets
from erase.methods.requirements import Requirements, optimizer_option
from erase.options import option
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.diffusion.batches import DiffusionBatch
    from erase.task import Step, Task

LAYER = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True)
class FewShot(DiffusionMethod):
    """Maximise  E||e(x_t, c) - n||^2  on the images of one batch, over the MLPs of the text encoder and the attention of its last layer.

    The retain term, which the method does not have, is the training loss on retain images.
    """

    scope: str = option(
        "full", "weights of the text encoder that may be changed; full: all MLPs, and the attention of the last layer; or re:PATTERN"
    )
    retain_weight: float = option(1.0, "weight of the training loss on retain images; 0: none are drawn", low=0.0)
    steps: int = option(40, "training steps; without a retain loss, more are not better", low=0)
    batch: int = option(5, "images of the concept in all, and as many to retain in each step", low=1)
    first_batch_only: bool = option(True, "train on the images of the first batch alone, under new noise: the few shots")
    optimizer: str = optimizer_option()
    learning_rate: float | None = rate_option(6e-4)

    # 4 or 5 epochs of a handful of images, two at a time
    presets: ClassVar[Presets] = {"balanced": {}, "paper": {"retain_weight": 0.0, "steps": 10, "batch": 4, "learning_rate": 1e-5}}

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            images=("forget", "retain") if self.retain_weight else ("forget",),
            passes=2 if self.retain_weight else 1,
            first_batch_only=self.first_batch_only,
            part="text-encoder",
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Train `task.network` in place; a Step after each optimizer step."""
        from erase.training.optimizers import OptimizerConfig
        from erase.training.two_loss_loop import Side, tune

        def ascent(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return -task.loss(network, batch)

        def retain_loss(network: nn.Module, batch: DiffusionBatch) -> Tensor:
            return self.retain_weight * task.loss(network, batch)

        chosen = chosen_weights(task.weights) if self.scope == "full" else task.weights
        for name, weight in task.weights.items():
            weight.requires_grad_(name in chosen)
        task = replace(task, weights=chosen)
        retain = Side(retain_loss, task.retain) if self.retain_weight else None
        optimizer = OptimizerConfig(self.optimizer, rate_of(self, task.weights))
        yield from tune(task, self.steps, retain, Side(ascent, task.forget), optimizer=optimizer, resume=resume)


def chosen_weights(weights: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Those of the MLPs, and of the attention of each encoder's last layer."""
    last: dict[str, int] = {}
    for name in weights:
        if found := LAYER.search(name):
            part = name.partition(".")[0]
            last[part] = max(last.get(part, 0), int(found[1]))
    return {
        name: weight
        for name, weight in weights.items()
        if (found := LAYER.search(name)) and (".mlp." in name or (".self_attn." in name and int(found[1]) == last[name.partition(".")[0]]))
    }
