"""Scissorhands on a classifier: the primitives and `erase.methods.diffusion.trimming`, with a classifier's options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from erase.methods.base import ClassifierMethod, Presets
from erase.methods.classifiers.released import Released
from erase.methods.classifiers.sgd_method import norms_option
from erase.options import option
from erase.scope import SCOPES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from erase.classifiers.task import ClassifierTask
    from erase.task import Batch, Batches, Loss, Step

# What the paper's runs have in common; learning rate, k and lambda differ between its data sets.
PAPER: dict[str, Any] = {
    "trim_scope": None,
    "unlearn": "ascent",
    "sensitivity_batches": 1,
    "full_excess": 0.0,
    "forget_batches": "whole",
    "forget_norms": "batch",
    "epochs": 10,
    "learning_rate": 5e-3,
    "cosine": False,
    "norm_momentum": 0.1,
    "weight_decay": 5e-4,
}

# Of a ResNet, as the script names them; `head` is what the network `small` has for fc.
LATE_LAYERS, LAST_LAYERS = r"re:^(layer3|layer4|fc|head)\.", r"re:^(layer4|fc|head)\."

RELEASED = Released(
    both=PAPER,
    # The script scores with absolute gradients, ranks all weights and trims some layers, and projects as GEM does.
    reference={
        "trim_scope": LATE_LAYERS,
        "rank_over": "scope",
        "signed": False,
        "projection_scope": LATE_LAYERS,
        "projection_memory": "epoch",
        "projection_margin": 0.5,
    },
    datasets={
        "cifar10": {"fraction": 0.03, "forget_weight": 0.05},
        "cifar100": {"fraction": 0.01, "forget_weight": 1.0},
        "svhn": {"learning_rate": 1e-3, "fraction": 0.1, "forget_weight": 0.01},
        "celeba": {"learning_rate": 2e-4, "fraction": 0.005, "forget_weight": 0.3, "epochs": 5},
    },
    shares={
        "cifar10": {
            "20": {"learning_rate": 4e-3, "fraction": 0.01, "forget_weight": 0.01},
            "50": {"learning_rate": 1e-3, "fraction": 0.03, "forget_weight": 0.01},
        },
        "cifar100": {"50": {"learning_rate": 1e-3, "fraction": 0.1, "forget_weight": 0.01}},
        "svhn": {"class": {"forget_weight": 0.1}},
    },
    scripts={
        "cifar100": {"trim_scope": LAST_LAYERS},
        "celeba": {"trim_scope": LAST_LAYERS, "projection_scope": LAST_LAYERS, "projection_every": 10},
    },
    script_shares={"cifar10": {"50": {"projection_every": 10}}, "svhn": {"class": {"trim_scope": LAST_LAYERS}}},
)

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

    full_excess: float = option(
        0.06,
        "how much more probability the network must give to the true class of forget samples than of held-out ones for the whole "
        "share trimmed and lambda; with less, both shrink by the cube of the ratio, because there is less to forget (0: never)",
        low=0.0,
        high=1.0,
        added_in="0.1.1",
    )
    forget_batches: str = option(
        "alongside",
        "alongside: a piece of a forget batch in every step; whole: whole batches in the first steps of an epoch, until the forget set "
        "is through, then retain batches alone (the paper's script)",
        choices=("alongside", "whole"),
        added_in="0.1.1",
    )
    forget_norms: str = norms_option()
    projection_scope: str | None = option(
        None, "layers that are projected, together; by default all that repair may change", added_in="0.1.1"
    )
    projection_every: int = option(1, "project in each so many-th step of an epoch, where it has a forget batch", low=1, added_in="0.1.1")
    projection_memory: str = option(
        "step",
        "gradient that the projection respects: that of the step's forget batch, or that of the first one of the epoch, in eval mode",
        choices=("step", "epoch"),
        added_in="0.1.1",
    )
    projection_margin: float = option(
        0.0, "least multiplier of that gradient where it is added: 0 is Eq. 5, the released code has GEM's 0.5", low=0.0, added_in="0.1.1"
    )

    presets: ClassVar[Presets] = RELEASED.presets()
    shares: ClassVar = RELEASED.by_share()

    def __call__(self, task: ClassifierTask, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; it is the original, also when resuming. A Step after each repair step."""
        from erase.classifiers.task import norm_momentum
        from erase.methods.classifiers.forget_bounds import expected_losses
        from erase.methods.classifiers.memorised import share_to_forget

        # Of the original, so before trimming.
        expected, strength = expected_losses(task, self.bound), share_to_forget(task, self.full_excess)
        if self.trimming and strength:
            self.trim(task, strength)
        weight = math.sqrt(task.forget_size / task.retain_size) if self.forget_weight is None else self.forget_weight
        weight *= strength
        with norm_momentum(task.network, self.norm_momentum), self.forgetting(task, expected) as (forget, unlearn):
            yield from self.repaired(replace(task, forget=forget, unlearn=unlearn), weight, resume)

    def forgetting(self, task: ClassifierTask, expected: Tensor) -> AbstractContextManager[tuple[Batches, Loss]]:
        """The forget batches of the steps, and the unlearning loss."""
        from erase.classifiers.task import alongside
        from erase.methods.classifiers.forget_bounds import bounded
        from erase.methods.classifiers.scripted_repair import whole_batches

        whole = whole_batches(task) if self.forget_batches == "whole" else None
        if self.unlearn == "bounded":
            return bounded(task, expected, whole, self.forget_norms)
        return nullcontext((whole or alongside(task), task.unlearn if self.forget_norms == "running" else _ascent))

    def repaired(self, task: ClassifierTask, weight: float, resume: Mapping[str, Tensor] | None) -> Iterator[Step]:
        """Repair by the paper's Eqs. 3 to 5, or with the schedule and the projection of its script."""
        from erase.methods.classifiers.scripted_repair import ScriptedProjection, scripted_repair
        from erase.project import Projection
        from erase.repair import repair
        from erase.training.optimizers import OptimizerConfig

        optimizer = OptimizerConfig(self.optimizer, self.learning_rate, self.momentum, self.weight_decay, self.cosine)
        scripted = ScriptedProjection(self.projection_scope, self.projection_every, self.projection_memory, self.projection_margin)
        if self.forget_batches == "whole" or scripted != ScriptedProjection():
            yield from scripted_repair(task, self.epochs, optimizer, weight, scripted if self.projected else None, resume)
            return
        yield from repair(
            task,
            self.epochs * task.epoch_retain,
            optimizer=optimizer,
            forget_weight=weight,
            projection=Projection("gradient" if self.projected else "none"),
            resume=resume,
        )

    def trim(self, task: ClassifierTask, strength: float = 1.0) -> dict[str, Tensor]:
        """Sensitivity over forget batches, then reinitialise the top share (Eq. 2), as for diffusion: `strength` times `fraction`.

        Nothing is trimmed where a strength under 1 leaves less than one weight.
        """
        from erase.methods.diffusion.trimming import Trimming

        trimming = Trimming(
            scope=self.scope,
            trim_scope=late(task.network) if self.trim_scope == "late" else self.trim_scope,
            rank_over=self.rank_over,
            fraction=self.fraction * strength,
            initialisation=self.initialisation,
            signed=self.signed,
            sensitivity_batches=self.sensitivity_batches or task.epoch_forget,
        )
        if strength < 1 and not trimming.count(task):
            return {}
        return trimming(task)


def _ascent(network: nn.Module, batch: Batch) -> Tensor:
    """The negated training loss, with batch norms as in training."""
    from erase.classifiers.task import cross_entropy

    return -cross_entropy(network, batch)


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
