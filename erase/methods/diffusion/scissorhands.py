"""Scissorhands (Wu and Harandi, ECCV 2024): score every weight, reinitialise the highest-scoring, repair with projected gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from erase.errors import InputError
from erase.methods.base import DiffusionMethod, Kinds, Presets
from erase.methods.requirements import Requirements, one_anchor_option, scored_scope, timestep_range
from erase.options import option
from erase.scope import SCOPES, in_scope, pattern_of, weight_of
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from torch import Tensor

    from erase.diffusion.batches import DiffusionBatch
    from erase.project import Projection
    from erase.task import Loss, Step, Task
    from erase.training.guard import Guard

SEARCH_STEPS = 3  # of the search for an adversarial prompt embedding
RELEARNING_STEPS = 5  # at most; batch after batch, their number runs from 1 to this

CLASSES = {  # its script of classes: ascent, the nine other classes retained, the checkpoint of step 79
    "unlearn": "ascent", "fraction": 0.001, "learning_rate": 2e-5, "batch": 8, "steps": 79, "first_batch_only": False,
    "retain_captions": None,
}  # fmt: skip


@dataclass(frozen=True)
class Scissorhands(DiffusionMethod):
    """Trim by connection sensitivity, then repair with projected gradients. The defaults are the preset `balanced`."""

    scope: str = option("cross-attention", f"weights that repair may change: {', '.join(SCOPES)} or re:PATTERN")
    trim_scope: str | None = option(None, "weights that trimming may reinitialise, as for --scope; by default all weights in --scope")
    rank_over: str = option(
        "trim-scope", "weights among which the top share is taken: those in trim-scope, or all in scope", choices=("trim-scope", "scope")
    )
    trimming: bool = option(True, "reinitialise the highest-scoring weights; without it there is only repair (an ablation)")
    fraction: float = option(0.005, "share of the ranked weights that is trimmed, the top k %", above=0.0, high=1.0)
    initialisation: str = option("uniform", "new values of trimmed weights", choices=("uniform", "normal", "zero", "one"))
    signed: bool = option(True, "score |E[g] w| (Eq. 2 of the paper) rather than E|g| |w| (the released code)")
    sensitivity_batches: int = option(10, "forget batches over which the score is averaged", low=1)
    unlearn: str = option(
        "anchor", "unlearning loss: distance to the prediction for the anchor, or ascent on the training loss", choices=("anchor", "ascent")
    )
    anchor_pictures: bool = option(
        True, "also draw images of the anchor and unlearn on both: once the concept is forgotten, sampling passes through such images"
    )
    one_anchor: bool = one_anchor_option()
    retain_target: str = option(
        "original",
        "prediction target on retain images: the original network's prediction (original), or that of training (data)",
        choices=("original", "data"),
    )
    forget_weight: float = option(1.0, "lambda: weight of the unlearning loss relative to the retain loss", low=0.0)
    projected: bool = option(True, "project the gradient so that no step undoes forgetting to first order (Eq. 5)")
    steps: int = option(100, "repair steps", low=0)
    batch: int = option(16, "forget images per step, and as many retain images", low=1)
    optimizer: str = option(
        "adam",
        "optimizer of repair; adafactor needs a third of adam's memory, and its learning rate is relative to the size of the weights",
        choices=("adam", "adamw", "adafactor", "sgd"),
    )
    learning_rate: float | None = rate_option(8e-4, full=4e-4)
    cosine: bool = option(False, "decay the learning rate to zero with a cosine schedule")
    cross_attention_rate: float = option(
        1.0, "learning rate of cross-attention as a multiple of that of the other weights in scope", above=0.0, added_in="0.1.1"
    )
    two_sided: bool = option(
        False,
        "where the gradients conflict, also project the unlearning gradient so that it does not raise the retain loss "
        "(restricted gradient)",
    )
    per_layer: bool = option(False, "project each tensor separately instead of all together")
    project_update: bool = option(
        False, "project the optimizer's update instead of the gradient, so that the first-order guarantee holds for the step that is taken"
    )
    spare: str = option(
        "none",
        "score weights by forget sensitivity relative to retain sensitivity: divide by it, or exclude weights where it is larger",
        choices=("none", "divide", "exclude"),
    )
    layers: int | None = option(
        None,
        "edit only the N layers with the largest forget gradient relative to their weights and the least alignment with the retain "
        "gradient (SLUG)",
        low=1,
    )
    forget_timesteps: str = option(
        "0-1",
        "LOW-HIGH: timesteps at which the concept is scored and unlearned, as shares of the noise schedule; 0-0.85 leaves the first "
        "denoising steps unchanged",
    )
    unnamed: float = option(
        0.0,
        "share of forget images that is given the empty prompt or a retain prompt, so that forgetting does not depend on the name",
        low=0.0,
        high=1.0,
    )
    redirect: float | None = option(
        None,
        "train noised concept images to denoise towards the paired anchor image; the shift is limited to this multiple of the noise level",
        above=0.0,
    )
    guard: float | None = option(
        None,
        "allowed increase of the training loss on held-out retain images, as a share; beyond it, repair returns to the best state and "
        "halves the learning rate",
        above=0.0,
        high=1000.0,
    )
    gone: float | None = option(
        None,
        "stop once the unlearning loss on held-out images has fallen to this share of its initial value and the retain loss no longer "
        "improves",
        above=0.0,
        high=1.0,
    )
    adversarial: int = option(
        0, "every N steps, unlearn under an adversarial text embedding instead of the prompt (adversarial training); 0: never", low=0
    )
    relapse: int = option(0, "every N steps, unlearn at the weights that a few steps of relearning would reach; 0: never", low=0)
    momentum: float = option(0.9, "SGD momentum. The projection's first-order guarantee is exact only at 0", low=0.0, high=1.0)
    first_batch_only: bool = option(False, "use the images of the first batch at every step, with new noise, as the released code does")
    retain_captions: int | None = option(
        None, "number of different captions in the retain set (the released code: 1); by default all", low=1
    )
    empty_captions: float = option(
        0.1, "share of retain images given the empty prompt, so that classifier-free guidance keeps working", low=0.0, high=1.0
    )

    presets: ClassVar[Presets] = {
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

    kinds: ClassVar[Kinds] = {"reference": {"class": CLASSES}}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.two_sided and self.project_update:
            raise InputError(
                "--two-sided projects the gradients and --project-update the update made from them; give one of the two", option="two_sided"
            )
        if not self.projected and (which := [n for n in ("two_sided", "per_layer", "project_update") if getattr(self, n)]):
            raise InputError(
                f"--{which[0].replace('_', '-')} is a kind of projection, but --no-projected is given; leave one of them out",
                option=which[0],
            )
        timestep_range(self.forget_timesteps)
        if self.trim_scope is not None:
            pattern_of(self.trim_scope, "trim_scope")
        if self.redirect is not None and not (self.unlearn == "anchor" and self.anchor_pictures):
            raise InputError(
                "--redirect denoises towards images of the anchor; it needs --unlearn anchor and --anchor-pictures", option="redirect"
            )

    @property
    def requirements(self) -> Requirements:
        relearning = (1 + RELEARNING_STEPS) / 2  # steps on average, each on half a batch
        passes = 2 + (SEARCH_STEPS / self.adversarial if self.adversarial else 0) + (relearning / 2 / self.relapse if self.relapse else 0)
        return Requirements(
            steps=self.steps,
            scope=self.scope,
            batch=self.batch,
            optimizer=self.optimizer,
            passes=passes,
            copies=float(self.project_update) + float(self.relapse > 0),
            relearns=self.relapse > 0,
            unlearn=self.unlearn,
            one_anchor=self.one_anchor,
            anchor_images=self.anchor_pictures,
            predictions=("anchor",) if self.unlearn == "anchor" else (),
            retain_target=self.retain_target,
            sensitivity_batches=self.sensitivity_batches,
            scored=scored_scope(self.scope, self.trim_scope, self.trimming, self.rank_over == "scope", self.layers is not None),
            scores=2.0 if self.spare != "none" or self.layers is not None or not self.signed else 1.0,
            first_batch_only=self.first_batch_only,
            retain_captions=self.retain_captions,
            empty_captions=self.empty_captions,
            forget_timesteps=self.forget_timesteps,
            unnamed=self.unnamed,
            redirect=self.redirect,
            held_out=self.guard is not None or self.gone is not None,
        )

    def __call__(self, task: Task[DiffusionBatch], resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """Score, trim and repair `task.network` in place; a Step after each repair step."""
        from erase.methods.diffusion.adversarial import adversarial_batches, adversarial_loss, relearned
        from erase.methods.diffusion.layer_selection import with_layers
        from erase.repair import repair
        from erase.training.optimizers import OptimizerConfig

        if self.layers is not None:
            task = with_layers(task, self.layers, self.sensitivity_batches, resume)
        unlearn = ascent(task.loss) if self.unlearn == "ascent" else task.unlearn
        moved = relearned(task, self.relapse, RELEARNING_STEPS) if self.relapse else None
        guard = self.watch(task, unlearn)
        if guard and resume is None:
            guard.start(task.micro_batch or 0)
        if resume is None and self.trimming:
            self.trim(task)
        if self.adversarial:
            task = replace(task, forget=adversarial_batches(task.forget, self.adversarial))
            unlearn = adversarial_loss(unlearn, task.loss, SEARCH_STEPS)
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
        from erase.project import Projection

        if not self.projected:
            return Projection("none")
        return Projection("update" if self.project_update else "gradient", self.two_sided, self.per_layer)

    def multiples(self, task: Task[DiffusionBatch]) -> dict[str, float]:
        """Learning rates of weights, as multiples of the common one, where they differ from it."""
        named = {} if self.cross_attention_rate == 1 else in_scope(task.network, "cross-attention")
        return {name: self.cross_attention_rate for name in task.weights if weight_of(name) in named}

    def watch(self, task: Task[DiffusionBatch], unlearn: Loss[DiffusionBatch]) -> Guard | None:
        """The guard, if --guard or --gone is given."""
        from erase.training.guard import Guard, held_out

        if self.guard is None and self.gone is None:
            return None
        if task.probe is None:
            raise InputError("--guard and --gone evaluate held-out images, and this task holds none out")
        return Guard(held_out(task.probe, unlearn), self.guard, self.gone)

    def trim(self, task: Task[DiffusionBatch]) -> dict[str, Tensor]:
        """The first half of the method: score, then reinitialise the top share. Returns the mask of trimmed weights."""
        from erase.methods.diffusion.trimming import Trimming

        return Trimming(
            scope=self.scope,
            trim_scope=self.trim_scope,
            rank_over=self.rank_over,
            fraction=self.fraction,
            initialisation=self.initialisation,
            signed=self.signed,
            sensitivity_batches=self.sensitivity_batches,
            spare=self.spare,
        )(task)


def ascent(loss: Loss[DiffusionBatch]) -> Loss[DiffusionBatch]:
    """The paper's unlearning loss (Eq. 3): the negated training loss on forget batches."""
    return lambda network, batch: -loss(network, batch)
