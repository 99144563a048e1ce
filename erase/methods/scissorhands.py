"""Scissorhands (Wu and Harandi, ECCV 2024): score every weight, reinitialise the top few, repair without relapse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from erase.micro import count, fitting
from erase.options import check, option
from erase.repair import repair
from erase.scope import SCOPES, in_scope, trimmable
from erase.sensitivity import connection_sensitivity
from erase.task import InputError, Loss, Step, Task, generator
from erase.trim import trim


@dataclass(frozen=True)
class Scissorhands:
    """Trim by connection sensitivity, then repair with projected gradients. The defaults are the preset `balanced`."""

    scope: str = option("cross-attention", f"weights that repair may change: {', '.join(SCOPES)} or re:PATTERN")
    trim_scope: str | None = option(None, "weights that trimming may reinitialise, as for --scope; by default all of it")
    rank_over: str = option(
        "trim-scope", "where the top share is taken: of trim-scope, or of everything in scope", choices=("trim-scope", "scope")
    )
    trimming: bool = option(True, "reinitialise the top share; without it there is only repair (an ablation)")
    fraction: float = option(0.005, "share of the ranked weights that is trimmed, the top k %", above=0.0, high=1.0)
    initialisation: str = option("uniform", "what trimmed weights become", choices=("uniform", "normal", "zero", "one"))
    signed: bool = option(True, "score |E[g] w| (Eq. 2 of the paper) rather than E|g| |w| (the released code)")
    sensitivity_batches: int = option(10, "forget batches that the score is averaged over", low=1)
    unlearn: str = option(
        "anchor", "how to forget: towards the anchor's prediction, or by ascent on the training loss", choices=("anchor", "ascent")
    )
    anchor_pictures: bool = option(
        True, "draw pictures of the anchor too and forget on both: sampling passes there once the concept gives way"
    )
    retain_target: str = option(
        "original",
        "what repair keeps to on retain pictures: the original's predictions, or the data, as in training",
        choices=("original", "data"),
    )
    forget_weight: float = option(1.0, "lambda: weight of the unlearning loss beside the retain loss", low=0.0)
    projected: bool = option(True, "never take a step that undoes forgetting to first order (Eq. 5)")
    steps: int = option(100, "repair steps", low=0)
    batch: int = option(16, "forget pictures a step, and as many retain pictures", low=1)
    optimizer: str = option(
        "adam",
        "how repair descends; adafactor holds a third of adam's memory, and its rate is relative to the size of the weights",
        choices=("adam", "adamw", "adafactor", "sgd"),
    )
    learning_rate: float = option(4e-4, "step size of repair", above=0.0)
    momentum: float = option(0.9, "of sgd; the promise of the projection holds to the letter at 0", low=0.0, high=1.0)
    first_batch_only: bool = option(False, "use the same first pictures at every step, with new noise, as the released code does")
    retain_captions: int | None = option(
        None, "how many different captions the retain set has (the released code: 1); all by default", low=1
    )
    empty_captions: float = option(
        0.1, "share of retain pictures that comes without its prompt, so that guidance keeps working", low=0.0, high=1.0
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "balanced": {},
        "paper": {
            "scope": "full",
            "unlearn": "ascent",
            "anchor_pictures": False,
            "retain_target": "data",
            "forget_weight": 0.1,
            "learning_rate": 1e-5,
            "steps": 125,
            "empty_captions": 0.0,
        },
        "reference": {
            "scope": "full",
            "trim_scope": "decoder-self-attention",
            "rank_over": "scope",
            "signed": False,
            "anchor_pictures": False,
            "retain_target": "data",
            "forget_weight": 0.1,
            "projected": False,
            "learning_rate": 1e-5,
            "steps": 125,
            "first_batch_only": True,
            "retain_captions": 1,
            "empty_captions": 0.0,
        },
    }

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; a Step after each repair step."""
        if resume is None and self.trimming:
            self.trim(task)
        yield from repair(
            task,
            self.steps,
            self.optimizer,
            self.learning_rate,
            self.forget_weight,
            projected=self.projected,
            momentum=self.momentum,
            unlearn=ascent(task.loss) if self.unlearn == "ascent" else task.unlearn,
            resume=resume,
        )

    def trim(self, task: Task) -> dict[str, Tensor]:
        """The first half of the method: sensitivity over forget batches, then reinitialise the top share (Eq. 2)."""
        ranked = trimmable(task.weights)
        inside = in_scope(task.network, self.trim_scope or self.scope)
        trimmed = trimmable({name: w for name, w in inside.items() if name in task.weights})
        if not trimmed:
            where = self.trim_scope or self.scope
            raise InputError(f"--trim-scope {where} has no matrices to trim within --scope {self.scope}; give another, or --no-trimming")
        scored = ranked if self.rank_over == "scope" else trimmed

        def sweep(size: int) -> dict[str, Tensor]:
            batches = (task.forget(i) for i in range(self.sensitivity_batches))
            most = task.micro_batch if size == whole else size  # batches may differ in size
            return connection_sensitivity(task.network, batches, task.loss, scored, self.signed, most, task.average)

        device = str(next(iter(scored.values())).device)
        whole = task.micro_batch or count(task.forget(0))
        scores, fit = fitting(sweep, whole, task.average, device)
        task.micro_batch = fit if fit < whole else task.micro_batch
        mask = trim(trimmed, scores, self.fraction, self.initialisation, generator(task.seed, "trim"), rank_over=scores)
        for name, score in scores.items():
            share = float(mask[name].float().mean()) if name in mask else 0.0
            task.layers[name] = {"sensitivity": float(score.mean()), "trimmed": share}
        return mask


def ascent(loss: Loss) -> Loss:
    """The paper's unlearning loss (Eq. 3): descending it climbs the training loss on what is to be forgotten."""
    return lambda network, batch: -loss(network, batch)
