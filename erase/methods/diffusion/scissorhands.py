"""Scissorhands (Wu and Harandi, ECCV 2024): score every weight, reinitialise the top few, repair without relapse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from erase.errors import InputError
from erase.methods.diffusion.adversarial import RELAPSE, SEARCH, against_prompts, relapses, sought
from erase.methods.diffusion.layer_selection import best_layers, candidates, in_modules, layer_scores, spare
from erase.methods.requirements import one_anchor_option, shares
from erase.options import check, option
from erase.project import Projection
from erase.repair import repair
from erase.scope import SCOPES, in_scope, trimmable
from erase.sensitivity import connection_sensitivity, mean_gradients
from erase.task import Batches, Loss, Step, Task, generator
from erase.training.guard import Guard, held_out
from erase.training.learning_rates import rate_of, rate_option
from erase.training.micro_batches import count, fitting
from erase.training.optimizers import OptimizerConfig
from erase.trim import trim

T = TypeVar("T")


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
    one_anchor: bool = one_anchor_option()
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
    learning_rate: float | None = rate_option(8e-4, "step size of repair", full=4e-4)
    cosine: bool = option(False, "let the step size fall to 0 along half a cosine")
    cross_attention_rate: float = option(
        1.0, "step size of cross-attention in multiples of the others', where others may change too", above=0.0, added_in="0.1.1"
    )
    two_sided: bool = option(
        False, "also keep the unlearning gradient from hurting what is kept, where the two are opposed (restricted gradient)"
    )
    per_layer: bool = option(False, "project every tensor by itself, not all together")
    project_update: bool = option(
        False, "project the optimizer's step instead of the gradient, so that the promise holds for the step that is taken"
    )
    spare: str = option(
        "none",
        "trim what forgetting leans on and keeping does not: divide scores by those of the retain set, or exclude where these are larger",
        choices=("none", "divide", "exclude"),
    )
    layers: int | None = option(
        None, "only so many layers may change: those where forgetting leans most on the weights and pulls least with keeping", low=1
    )
    forget_timesteps: str = option(
        "0-1", "LOW-HIGH, shares of the noise schedule where the concept is scored and forgotten; 0-0.85 leaves early denoising alone"
    )
    unnamed: float = option(
        0.0,
        "share of the pictures to forget that comes under no prompt, or one to keep, so that forgetting does not hang on the name",
        low=0.0,
        high=1.0,
    )
    redirect: float | None = option(
        None,
        "pictures of the concept lead to the anchor's from the same noise, as far as so many times the noise that is in them",
        above=0.0,
    )
    guard: float | None = option(
        None,
        "how much worse, as a share, the training loss on held-out retain pictures may get; then back to the best state at half the rate",
        above=0.0,
    )
    gone: float | None = option(
        None,
        "stop when the unlearning loss on held-out pictures is down to this share of its start and keeping gains no more",
        above=0.0,
        high=1.0,
    )
    adversarial: int = option(
        0, "every so many steps forget under the text embedding that an attacker would find, not under the prompt; 0: never", low=0
    )
    relapse: int = option(0, "every so many steps forget from where a few steps of relearning would lead the weights; 0: never", low=0)
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
        "robust": {
            "scope": "full",
            "trim_scope": "cross-attention",
            "redirect": 2.0,
            "relapse": 2,
            "steps": 230,
            "cosine": True,
            "cross_attention_rate": 3.0,
            "empty_captions": 0.3,
        },
        "paper": {
            "scope": "full",
            "unlearn": "ascent",
            "anchor_pictures": False,
            "one_anchor": False,
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
            "one_anchor": False,
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
        if self.two_sided and self.project_update:
            raise InputError("--two-sided bends gradients and --project-update the step that is made of them; give one of the two")
        if not self.projected and (which := [n for n in ("two_sided", "per_layer", "project_update") if getattr(self, n)]):
            raise InputError(f"--{which[0].replace('_', '-')} is a way to project, and --no-projected is given; leave one of them out")
        shares(self.forget_timesteps)
        if self.redirect is not None and not (self.unlearn == "anchor" and self.anchor_pictures):
            raise InputError("--redirect leads to pictures of the anchor; it needs --unlearn anchor and --anchor-pictures")

    @property
    def copies(self) -> float:
        """Of the weights in scope, for the estimate of memory."""
        return float(self.project_update) + float(self.relapse > 0)

    @property
    def passes(self) -> float:
        """Over a batch a step, for the estimate of time."""
        halves = (1 + RELAPSE) / 2  # of a batch, on average
        return 2 + (SEARCH / self.adversarial if self.adversarial else 0) + (halves / 2 / self.relapse if self.relapse else 0)

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; a Step after each repair step."""
        if self.layers is not None:
            task = self.narrowed(task, resume)
        unlearn = ascent(task.loss) if self.unlearn == "ascent" else task.unlearn
        moved = relapses(task, self.relapse) if self.relapse else None
        guard = self.watch(task, unlearn)
        if guard and resume is None:
            guard.start(task.micro_batch or 0)
        if resume is None and self.trimming:
            self.trim(task)
        if self.adversarial:
            task, unlearn = replace(task, forget=sought(task.forget, self.adversarial)), against_prompts(unlearn, task.loss)
        rate = rate_of(self, task.weights)
        yield from repair(
            replace(task, unlearn=unlearn),
            self.steps,
            optimizer=OptimizerConfig(self.optimizer, rate, self.momentum, cosine=self.cosine, multiples=self.multiples(task)),
            forget_weight=self.forget_weight,
            projection=self.projection,
            guard=guard,
            moved=moved,
            resume=resume,
        )

    @property
    def projection(self) -> Projection:
        """What of a repair step is projected."""
        if not self.projected:
            return Projection("none")
        return Projection("update" if self.project_update else "gradient", self.two_sided, self.per_layer)

    def multiples(self, task: Task) -> dict[str, float]:
        """Weights whose rate is not that of the others."""
        named = {} if self.cross_attention_rate == 1 else in_scope(task.network, "cross-attention")
        return dict.fromkeys(named, self.cross_attention_rate)

    def watch(self, task: Task, unlearn: Loss) -> Guard | None:
        """The guard, where it is asked for."""
        if self.guard is None and self.gone is None:
            return None
        if task.probe is None:
            raise InputError("--guard and --gone look at held-out pictures, and this task holds none out")
        return Guard(held_out(task.probe, unlearn), self.guard, self.gone)

    def narrowed(self, task: Task, resume: Mapping[str, Tensor] | None) -> Task:
        """The task with only the layers that may change; on resume those that the snapshot holds."""
        names = list(task.weights)
        if resume is None:
            retain = task.retain_data or task.retain
            forget, kept = (self.swept(task, mean_gradients, batches, task.weights) for batches in (task.forget, retain))
            scores = layer_scores(forget, kept, task.weights)
            names = in_modules(names, best_layers(scores, int(self.layers or 0)))
            for name in task.weights:
                task.layers[name] = {"layer_score": scores[name.rpartition(".")[0] or name]}
        else:
            names = [name for name in names if f"weight/{name}" in resume]
        for name, weight in task.weights.items():
            weight.requires_grad_(name in names)
        return replace(task, weights={name: task.weights[name] for name in names})

    def swept(self, task: Task, sweep: Callable[..., T], batches: Batches, scored: Mapping[str, Tensor], **options: Any) -> T:
        """A sweep over as many batches as the score is to be averaged over, with as many examples at once as fit."""

        def fit_in(size: int) -> T:
            most = task.micro_batch if size == whole else size  # batches may differ in size
            numbered = (batches(i) for i in range(self.sensitivity_batches))
            return sweep(task.network, numbered, task.loss, scored, micro_batch=most, average=task.average, **options)

        whole = task.micro_batch or count(batches(0))
        found, fit = fitting(fit_in, whole, task.average, str(next(iter(scored.values())).device))
        task.micro_batch = fit if fit < whole else task.micro_batch
        return found

    def trim(self, task: Task) -> dict[str, Tensor]:
        """The first half of the method: sensitivity over forget batches, then reinitialise the top share (Eq. 2)."""
        ranked = trimmable(task.weights)
        inside = in_scope(task.network, self.trim_scope or self.scope)
        trimmed = trimmable({name: w for name, w in inside.items() if name in task.weights})
        if not trimmed:
            where = self.trim_scope or self.scope
            raise InputError(f"--trim-scope {where} has no matrices to trim within --scope {self.scope}; give another, or --no-trimming")
        scored = ranked if self.rank_over == "scope" else trimmed

        scores = self.swept(task, connection_sensitivity, task.forget, scored, signed=self.signed)
        fraction, rank = self.fraction, scores
        if self.spare != "none":
            kept = self.swept(task, connection_sensitivity, task.retain_data or task.retain, scored, signed=self.signed)
            rank = spare(scores, kept, self.spare)
            left = candidates(rank)
            if not left:
                raise InputError(
                    "--spare exclude leaves nothing to trim: keeping leans more on every weight; give divide, or --no-trimming"
                )
            fraction = min(fraction, left / sum(score.numel() for score in rank.values()))
        mask = trim(trimmed, rank, fraction, self.initialisation, generator(task.seed, "trim"), rank_over=rank)
        for name, score in scores.items():
            share = float(mask[name].float().mean()) if name in mask else 0.0
            task.layers[name] = task.layers.get(name, {}) | {"sensitivity": float(score.mean()), "trimmed": share}
        return mask


def ascent(loss: Loss) -> Loss:
    """The paper's unlearning loss (Eq. 3): descending it climbs the training loss on what is to be forgotten."""
    return lambda network, batch: -loss(network, batch)
