"""Scissorhands on a classifier: the method of `erase.methods.scissorhands`, with the options that a classifier has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from erase.classifier import ClassifierTask, forgotten
from erase.methods.scissorhands import Scissorhands
from erase.options import check, option
from erase.scope import SCOPES
from erase.task import Batch, Step


@dataclass(frozen=True)
class ClassifierScissorhands:
    """Trim by connection sensitivity, then repair on the retain set with projected gradients (Wu and Harandi, ECCV 2024)."""

    scope: str = option("full", f"weights that repair may change: {', '.join(SCOPES)} or re:PATTERN")
    trim_scope: str | None = option(None, "weights that trimming may reinitialise, as for --scope; by default all of it")
    rank_over: str = option(
        "trim-scope", "where the top share is taken: of trim-scope, or of everything in scope", choices=("trim-scope", "scope")
    )
    trimming: bool = option(True, "reinitialise the top share; without it there is only repair (an ablation)")
    fraction: float = option(0.03, "share of the ranked weights that is trimmed, the top k %", above=0.0, high=1.0)
    initialisation: str = option("uniform", "what trimmed weights become", choices=("uniform", "normal", "zero", "one"))
    signed: bool = option(True, "score |E[g] w| (Eq. 2 of the paper) rather than E|g| |w| (the released code)")
    sensitivity_batches: int | None = option(None, "forget batches that the score is averaged over; by default all of them", low=1)
    bound: float | None = option(
        None, "loss of a forget sample, in nats, from which on it is climbed no further; by default there is no bound", above=0.0
    )
    forget_weight: float = option(0.05, "lambda: weight of the ascent beside the retain loss", low=0.0)
    projected: bool = option(True, "never take a step that undoes forgetting to first order (Eq. 5)")
    epochs: int = option(10, "epochs of repair over the retain set", low=0)
    optimizer: str = option("sgd", "how repair descends", choices=("adam", "adamw", "sgd"))
    learning_rate: float = option(0.01, "step size of repair", above=0.0)
    momentum: float = option(0.9, "of sgd; the promise of the projection holds to the letter at 0", low=0.0, high=1.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "cifar10": {"learning_rate": 5e-3, "fraction": 0.03, "forget_weight": 0.05},
        "cifar100": {"learning_rate": 5e-3, "fraction": 0.01, "forget_weight": 1.0},
        "svhn": {"learning_rate": 1e-3, "fraction": 0.1, "forget_weight": 0.01},
        "celeba": {"learning_rate": 2e-4, "fraction": 0.005, "forget_weight": 0.3, "epochs": 5},
        "reference": {
            "trim_scope": r"re:^(layer3|layer4|fc)\.",
            "rank_over": "scope",
            "signed": False,
            "sensitivity_batches": 1,
            "learning_rate": 5e-3,
        },
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; a Step after each repair step."""
        yield from self.method(task)(replace(task, unlearn=self.unlearn), resume)

    def method(self, task: ClassifierTask) -> Scissorhands:
        """The method itself, its epochs and sweeps counted out for this task."""
        same = ("scope", "trim_scope", "rank_over", "trimming", "fraction", "initialisation", "signed", "forget_weight", "projected")
        return Scissorhands(
            **{name: getattr(self, name) for name in (*same, "optimizer", "learning_rate", "momentum")},
            sensitivity_batches=self.sensitivity_batches or task.epoch_forget,
            unlearn="anchor",  # the task's own loss
            steps=self.epochs * task.epoch_retain,
        )

    def unlearn(self, network: nn.Module, batch: Batch) -> Tensor:
        """Ascent on the training loss of each forget sample, up to `bound`: -E[min(L, bound)], under the running statistics."""

        def climb(network: nn.Module, batch: Batch) -> Tensor:
            lost = F.cross_entropy(network(batch["x"]), batch["y"], reduction="none")
            return -(lost if self.bound is None else lost.clamp(max=self.bound)).mean()

        return forgotten(climb)(network, batch)
