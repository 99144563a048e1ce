"""Scissorhands on a classifier: the primitives and `erase.methods.diffusion.trimming`, with a classifier's options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from erase.methods.base import ClassifierMethod, Presets
from erase.options import option
from erase.scope import SCOPES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.classifiers.task import ClassifierTask
    from erase.task import Step

# What the paper's runs have in common; learning rate, k and lambda differ between its data sets.
PAPER: dict[str, Any] = {
    "trim_scope": None,
    "unlearn": "ascent",
    "epochs": 10,
    "learning_rate": 5e-3,
    "cosine": False,
    "norm_momentum": 0.1,
    "weight_decay": 5e-4,
}

LATE = 0.5
"""Share of all weights that the trim scope `late` contains at least."""


@dataclass(frozen=True)
class ClassifierScissorhands(ClassifierMethod):
    """Trim by connection sensitivity, then repair on the retain set with projected gradients (Wu and Harandi, ECCV 2024).

    The paper's unlearning loss, ascent on the training loss, hardly changes a network that is confident about a sample, and is
    unbounded once it does. The default instead descends -log(1 - p), p the probability of the true class: steep where the network is
    confident, flat where it has forgotten; and a sample whose loss has reached its bound is left alone. Bounds are the losses on
    held-out samples, by rank, so that forgotten samples end up like samples that were never seen
    (`erase.methods.classifiers.forget_bounds`).
    """

    scope: str = option("full", f"weights that repair may change: {', '.join(SCOPES)} or re:PATTERN")
    trim_scope: str | None = option(
        "late", "weights that trimming may reinitialise: late, the half of the weights nearest to the output, or as for --scope"
    )
    rank_over: str = option(
        "trim-scope", "weights among which the top share is taken: those in trim-scope, or all in scope", choices=("trim-scope", "scope")
    )
    trimming: bool = option(True, "reinitialise the top share; without it the method only repairs (an ablation)")
    fraction: float = option(0.05, "share of the ranked weights that is trimmed, the top k %", above=0.0, high=1.0)
    initialisation: str = option("uniform", "values of trimmed weights", choices=("uniform", "normal", "zero", "one"))
    signed: bool = option(True, "score |E[g] w| (Eq. 2 of the paper) rather than E|g| |w| (the released code)")
    sensitivity_batches: int | None = option(None, "forget batches that the score is averaged over; by default all of them", low=1)
    unlearn: str = option(
        "bounded", "unlearning loss: descend -log(1 - p) up to a bound, or ascend the training loss", choices=("bounded", "ascent")
    )
    bound: float | None = option(
        None,
        "loss in nats at which a sample counts as forgotten; by default that of a held-out sample of the same rank (without held-out "
        "samples, that of chance), and none for classes that are forgotten completely",
        above=0.0,
    )
    forget_weight: float | None = option(
        None, "lambda: weight of the unlearning loss relative to the retain loss; by default the square root of n_f / n_r", low=0.0
    )
    projected: bool = option(True, "never take a step that undoes forgetting to first order (Eq. 5)")
    epochs: int = option(
        7, "epochs of repair over the retain set, each of which passes once over a forget set of up to half its size", low=0
    )
    optimizer: str = option("sgd", "optimizer of repair", choices=("adam", "adamw", "sgd"))
    learning_rate: float = option(0.05, "learning rate of repair", above=0.0)
    cosine: bool = option(True, "decay the learning rate to zero with a cosine schedule; otherwise it is constant")
    momentum: float = option(0.9, "SGD momentum. The projection's first-order guarantee is exact only at 0", low=0.0, high=1.0)
    weight_decay: float = option(0.0, "weight decay of repair", low=0.0)
    norm_momentum: float = option(
        0.6,
        "momentum of batch norms' running statistics during repair: forget passes use these, so they must follow the weights",
        above=0.0,
        high=1.0,
    )

    presets: ClassVar[Presets] = {
        "balanced": {},
        "cifar10": {**PAPER, "fraction": 0.03, "forget_weight": 0.05},
        "cifar100": {**PAPER, "fraction": 0.01, "forget_weight": 1.0},
        "svhn": {**PAPER, "learning_rate": 1e-3, "fraction": 0.1, "forget_weight": 0.01},
        "celeba": {**PAPER, "learning_rate": 2e-4, "fraction": 0.005, "forget_weight": 0.3, "epochs": 5},
        "reference": {
            **PAPER,
            "trim_scope": r"re:^(layer3|layer4|fc)\.",
            "rank_over": "scope",
            "signed": False,
            "sensitivity_batches": 1,
            "fraction": 0.03,
            "forget_weight": 0.05,
        },
    }

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; it is the original, also when resuming. A Step after each repair step."""
        from erase.classifiers.task import alongside, norm_momentum
        from erase.methods.classifiers.forget_bounds import bounded, expected_losses
        from erase.project import Projection
        from erase.repair import repair
        from erase.training.optimizers import OptimizerConfig

        expected = expected_losses(task, self.bound)  # of the original, so before trimming
        if self.trimming:
            self.trim(task)
        weight = math.sqrt(task.forget_size / task.retain_size) if self.forget_weight is None else self.forget_weight
        unbounded = nullcontext((alongside(task), task.unlearn))
        target = unbounded if self.unlearn == "ascent" else bounded(task, expected)
        with norm_momentum(task.network, self.norm_momentum), target as (forget, unlearn):
            yield from repair(
                replace(task, forget=forget, unlearn=unlearn),
                self.epochs * task.epoch_retain,
                optimizer=OptimizerConfig(self.optimizer, self.learning_rate, self.momentum, self.weight_decay, self.cosine),
                forget_weight=weight,
                projection=Projection("gradient" if self.projected else "none"),
                resume=resume,
            )

    def trim(self, task: ClassifierTask) -> dict[str, Tensor]:
        """Sensitivity over forget batches, then reinitialise the top share (Eq. 2), as for diffusion."""
        from erase.methods.diffusion.trimming import Trimming

        trimming = Trimming(
            scope=self.scope,
            trim_scope=late(task.network) if self.trim_scope == "late" else self.trim_scope,
            rank_over=self.rank_over,
            fraction=self.fraction,
            initialisation=self.initialisation,
            signed=self.signed,
            sensitivity_batches=self.sensitivity_batches or task.epoch_forget,
        )
        return trimming(task)


def late(network: nn.Module) -> str:
    """A scope: the last parameters, in the network's order, that make up the share LATE of its weights."""
    sizes = [(name, weight.numel()) for name, weight in network.named_parameters()]
    total, names, size = sum(count for _, count in sizes), [], 0
    for name, count in reversed(sizes):
        if size >= LATE * total:
            break
        names.append(re.escape(name))
        size += count
    return f"re:^({'|'.join(names)})$"
