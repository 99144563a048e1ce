"""Scissorhands on a classifier: the primitives and the trimming of `erase.methods.diffusion.scissorhands`, with a classifier's options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from erase.classifiers.task import ClassifierTask, alongside, norm_momentum
from erase.methods.classifiers.forget_bounds import aim, expected_losses
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.options import check, option
from erase.project import Projection
from erase.repair import repair
from erase.scope import SCOPES
from erase.task import Step
from erase.training.optimizers import OptimizerConfig

# What the paper's runs share; published data sets differ in rate, k and lambda.
PAPER: dict[str, Any] = {
    "trim_scope": None,
    "unlearn": "ascent",
    "epochs": 10,
    "learning_rate": 5e-3,
    "cosine": False,
    "norm_momentum": 0.1,
    "weight_decay": 5e-4,
}

LATE = 0.5  # share of all weights that the trim scope `late` holds at least


@dataclass(frozen=True)
class ClassifierScissorhands:
    """Trim by connection sensitivity, then repair on the retain set with projected gradients (Wu and Harandi, ECCV 2024).

    The paper's unlearning loss, ascent on the training loss, hardly moves a network that is sure of a sample and knows no end
    once it moves. The default instead descends -log(1 - p), p the probability of the true class: steep where the network is
    sure, flat where it has forgotten; and a sample whose loss has reached its bound is left alone. Bounds are the losses on
    held-out samples, by rank, so that forgotten samples end up as samples never seen do (`erase.methods.classifiers.forget_bounds`).
    """

    scope: str = option("full", f"weights that repair may change: {', '.join(SCOPES)} or re:PATTERN")
    trim_scope: str | None = option(
        "late", "weights that trimming may reinitialise: late, the half of the weights nearest to the output, or as for --scope"
    )
    rank_over: str = option(
        "trim-scope", "where the top share is taken: of trim-scope, or of everything in scope", choices=("trim-scope", "scope")
    )
    trimming: bool = option(True, "reinitialise the top share; without it there is only repair (an ablation)")
    fraction: float = option(0.05, "share of the ranked weights that is trimmed, the top k %", above=0.0, high=1.0)
    initialisation: str = option("uniform", "what trimmed weights become", choices=("uniform", "normal", "zero", "one"))
    signed: bool = option(True, "score |E[g] w| (Eq. 2 of the paper) rather than E|g| |w| (the released code)")
    sensitivity_batches: int | None = option(None, "forget batches that the score is averaged over; by default all of them", low=1)
    unlearn: str = option(
        "bounded", "how to forget: descend -log(1 - p) up to a bound, or ascend on the training loss", choices=("bounded", "ascent")
    )
    bound: float | None = option(
        None,
        "loss in nats at which a sample counts as forgotten; by default that of a held-out sample of the same rank (that of chance "
        "where none are held out), and none for classes that are forgotten whole",
        above=0.0,
    )
    forget_weight: float | None = option(
        None, "lambda: weight of the unlearning loss beside the retain loss; by default the root of n_f / n_r", low=0.0
    )
    projected: bool = option(True, "never take a step that undoes forgetting to first order (Eq. 5)")
    epochs: int = option(
        7, "epochs of repair over the retain set, each of which passes once over a forget set of up to half its size", low=0
    )
    optimizer: str = option("sgd", "how repair descends", choices=("adam", "adamw", "sgd"))
    learning_rate: float = option(0.05, "step size of repair", above=0.0)
    cosine: bool = option(True, "let the step size fall to 0 along half a cosine; without it, it is constant")
    momentum: float = option(0.9, "of sgd; the promise of the projection holds to the letter at 0", low=0.0, high=1.0)
    weight_decay: float = option(0.0, "pull of every weight towards 0; trimming has cut what was to go", low=0.0)
    norm_momentum: float = option(
        0.6, "of batch norms during repair: forget passes read their statistics, which must keep up with the weights", above=0.0, high=1.0
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
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

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; it is the original, also when resuming. A Step after each repair step."""
        expected = expected_losses(task, self.bound)  # of the original, so before trimming
        if self.trimming:
            self.trim(task)
        weight = math.sqrt(task.forget_size / task.retain_size) if self.forget_weight is None else self.forget_weight
        plain = nullcontext((alongside(task), task.unlearn))
        aimed = plain if self.unlearn == "ascent" else aim(task, expected)
        with norm_momentum(task.network, self.norm_momentum), aimed as (forget, unlearn):
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
        names = ("scope", "rank_over", "fraction", "initialisation", "signed")
        values = {name: getattr(self, name) for name in names}
        values["trim_scope"] = late(task.network) if self.trim_scope == "late" else self.trim_scope
        return Scissorhands(**values, sensitivity_batches=self.sensitivity_batches or task.epoch_forget).trim(task)


def late(network: nn.Module) -> str:
    """A scope: the last parameters, in the order in which the network holds them, that make up LATE of its weights."""
    sizes = [(name, weight.numel()) for name, weight in network.named_parameters()]
    total, chosen, held = sum(size for _, size in sizes), [], 0
    for name, size in reversed(sizes):
        if held >= LATE * total:
            break
        chosen.append(re.escape(name))
        held += size
    return f"re:^({'|'.join(chosen)})$"
