"""What a diffusion method requires of the job that runs it: which images, batches, predictions and weights it works on.

A method returns one `Requirements` from its property `requirements`. This is the whole contract between a method and the job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from erase.errors import InputError
from erase.options import option
from erase.scope import pattern_of

ImageSet = Literal["forget", "retain"]
Prediction = Literal["anchor", "concept", "empty", "before"]

IMAGE_SETS: tuple[ImageSet, ...] = get_args(ImageSet)
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


@dataclass(frozen=True)
class Requirements:
    """What the job prepares before it calls a method. Everything that is left out has a plain default.

    InputError where `images` or `predictions` names something that no job can provide, and for a scope that is none.
    """

    steps: int = 1
    """Number of steps that the method yields."""
    scope: str = "full"
    """Weights that it may change: a named scope or re:PATTERN. All others are frozen."""
    edits: str = ""
    """The scope in words, for the error message where the network has no such weights."""
    batch: int = 16
    """Images per batch."""
    optimizer: str | None = "adam"
    """Optimizer whose state is in memory; None for a method that takes no gradients."""
    passes: float = 2
    """Forward and backward passes over a batch per step, for the estimate of time."""
    copies: float = 0.0
    """Float32 copies of the weights in scope beside gradients and optimizer state, for the estimate of memory."""
    images: tuple[ImageSet, ...] = IMAGE_SETS
    """Image sets that it trains on. A set that is left out is not drawn, but its prompts are available."""
    unlearn: str = "none"
    """Prompt that each forget prompt is paired with (`DiffusionBatch.anchor`): `anchor`, the prompt of its anchor; `random`, the prompt of
    a random retain image. Any other value: none."""
    one_anchor: bool = False
    """Use only the first of several anchors, for methods that could only learn their mean."""
    anchor_images: bool = False
    """Draw an image of the anchor for each forget image. Half of the unlearning inputs are then noised anchor images. Where `images` leaves
    out the forget set, anchor images are used in its place, under the forget prompts."""
    predictions: tuple[Prediction, ...] = ()
    """Predictions of the original network that forget batches carry: `anchor`, for the unlearning input under the anchor's prompt;
    `before`, for that input under the forget prompt; `concept` and `empty`, for the noisy forget image under the forget prompt and under
    the empty prompt."""
    distance: str = "squared"
    """What the unlearning loss measures: `squared`, `hinge` (which needs the prediction `before`) or `hellinger`."""
    margin: float = 1.0
    """By which factor a prediction shall be nearer to the target than to that of before: `hinge`."""
    sharpness: float = 1.0
    """How soon a distance counts as far: `hellinger`."""
    retain_target: str = "data"
    """Prediction target of retain batches: `original`, the prediction of the original network; `data`, that of training."""
    sensitivity_batches: int = 0
    """Forget batches that it evaluates before the first step."""
    scored: str | None = None
    """Scope of the weights that it scores on these batches, with a score in float32 for each of them; None: it scores none."""
    scores: float = 1.0
    """Float32 numbers per scored weight, for the estimate of memory where the weights themselves are not trained."""
    relearns: bool = False
    """Whether it moves the weights themselves for a while, also where factors are trained."""
    masked: bool = False
    """Whether it trains some entries of the weights and leaves the others as they are, which low-rank factors cannot."""
    first_batch_only: bool = False
    """Use the images of the first batch in every batch, with new noise."""
    retain_captions: int | None = None
    """Number of different captions in the retain set; None for all."""
    empty_captions: float = 0.1
    """Share of retain images that are given the empty prompt, so that classifier-free guidance keeps working."""
    forget_timesteps: str = "0-1"
    """LOW-HIGH: range of the timesteps of forget batches, as shares of the noise schedule."""
    unnamed: float = 0.0
    """Share of forget images that are given another prompt: half of these the empty one, half that of a retain image."""
    redirect: float | None = None
    """Train forget images towards the paired anchor image; the shift is limited to this multiple of the noise level."""
    attention_maps: bool = False
    """It reads the maps of cross-attention, which only UNets have."""
    token_marks: bool = False
    """Batches and texts say which tokens of a prompt name the concept (`marks`)."""
    part: str | None = None
    """`text-encoder` for a method that edits nothing else; None: the part that the job names."""
    held_out: bool = False
    """Hold out an eighth of both image sets from training, and provide batches of them as `task.probe`."""

    def __post_init__(self) -> None:
        for name, values, known in (("images", self.images, IMAGE_SETS), ("predictions", self.predictions, PREDICTIONS)):
            if unknown := [value for value in values if value not in known]:
                raise InputError(f"the requirements of a method name {unknown[0]!r} among its {name}; expected some of {', '.join(known)}")
        pattern_of(self.scope, "scope")

    @property
    def anchor(self) -> bool:
        """Whether every forget prompt needs an anchor."""
        return self.unlearn == "anchor"


def one_anchor_option() -> Any:
    """The option `one_anchor` of a method that trains towards anchors."""
    return option(
        True,
        "use only the first of several anchors: a target learned from several lies between them, where the concept itself may be",
    )


def optimizer_option(usual: str = "adam") -> Any:
    """The option `optimizer` of a method that trains."""
    return option(usual, "optimizer", choices=("adam", "adamw", "adafactor", "sgd"))


def timestep_range(text: str) -> tuple[float, float]:
    """LOW-HIGH as two shares of the noise schedule; InputError for anything else."""
    try:
        low, high = map(float, text.split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise InputError(
            f"--forget-timesteps is {text!r}; expected LOW-HIGH with 0 <= LOW < HIGH <= 1, such as 0-0.85", option="forget_timesteps"
        )
    return low, high


def scored_scope(scope: str, trim_scope: str | None, trimming: bool, over_scope: bool, layers: bool) -> str | None:
    """The scope of the weights that Scissorhands scores: to trim them, to rank over all, or to select layers; None if it does not."""
    if layers or (trimming and over_scope):
        return scope
    return (trim_scope or scope) if trimming else None
