"""What a job makes ready before it calls a method: read from the method, with a plain default for all it does not say.

This is the whole contract between a diffusion method and the job. An attribute of the method, be it a field, a property or
a class variable, counts under its name here; so a method says no more than what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from erase.errors import InputError
from erase.options import option

PICTURES = ("forget", "retain")
PREDICTIONS = ("anchor", "concept", "empty")


@dataclass(frozen=True)
class Preparation:
    """What a method wants. `needs` reads one from a method."""

    steps: int = 1
    """Steps that it will yield."""
    scope: str = "full"
    """Weights that it may change: a named scope or re:PATTERN. All others are frozen."""
    edits: str = ""
    """What that is in words, for the error where the network has none of it."""
    batch: int = 16
    """Pictures in a batch."""
    optimizer: str | None = "adam"
    """Which optimizer's state will be in memory; None: it takes no gradients."""
    passes: float = 2
    """Forward and backward passes over a batch a step, for the estimate of time."""
    copies: float = 0.0
    """Float32 copies of the weights in scope that it holds beside gradients and optimizer, for the estimate of memory."""
    pictures: tuple[str, ...] = PICTURES
    """Which sets it looks at; the other is not drawn, though its prompts are known."""
    unlearn: str = "none"
    """`anchor`: each forget prompt has its anchor's. `random`: that of a random retain prompt. Anything else: no anchor."""
    anchor: bool = False
    """Whether anchor prompts are needed; by default where `unlearn` is `anchor`."""
    one_anchor: bool = False
    """Of several anchors the first alone: for what can only learn their mean."""
    anchor_pictures: bool = False
    """Draw a picture of the anchor for each forget picture: half of what `passed` holds comes from them. Where `pictures` leaves out
    those to forget, they take their place under the forget prompts."""
    predictions: tuple[str, ...] = ()
    """What the untouched network says, in forget batches: `anchor` of `passed` under the anchor's prompt, `concept` and `empty` of
    `noisy` under the forget prompt and none. By default `anchor` where `unlearn` is `anchor` or `random`."""
    retain_target: str = "data"
    """`target` of retain batches: what the untouched network says (`original`), or what training has (`data`)."""
    sensitivity_batches: int = 0
    """Forget batches that it goes through before the first step."""
    first_batch_only: bool = False
    """The same first pictures in every batch, under new noise."""
    retain_captions: int | None = None
    """How many different captions the retain set has; None: all."""
    empty_captions: float = 0.1
    """Share of retain pictures that comes without its prompt."""
    forget_timesteps: str = "0-1"
    """LOW-HIGH, shares of the noise schedule within which forget batches lie."""
    unnamed: float = 0.0
    """Share of forget pictures that comes without its prompt: under none, or under one to keep."""
    redirect: float | None = None
    """Forget pictures are answered with what leads to the anchor's picture, as far as so many times the noise in them."""


def one_anchor_option() -> Any:
    """The field `one_anchor` of a method that forgets towards anchors."""
    return option(
        True, "of several anchors take the first alone: what is learned from several lies between them, where the concept itself may be"
    )


def needs(method: Any) -> Preparation:
    """What a method says of itself; InputError in one line for what no job can give."""
    given = {item.name: getattr(method, item.name) for item in fields(Preparation) if hasattr(method, item.name)}
    towards = given.get("unlearn", "none")
    given.setdefault("anchor", towards == "anchor")
    given.setdefault("predictions", ("anchor",) if towards in ("anchor", "random") else ())
    name = type(method).__name__
    for key, allowed in (("pictures", PICTURES), ("predictions", PREDICTIONS)):
        if strange := [entry for entry in given.get(key, ()) if entry not in allowed]:
            raise InputError(f"the method {name} wants {key} {strange[0]!r}; there are {', '.join(allowed)}")
    return Preparation(**given)


def shares(text: str) -> tuple[float, float]:
    """LOW-HIGH as two shares of the noise schedule; InputError for anything else."""
    try:
        low, high = map(float, text.split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise InputError(f"--forget-timesteps is {text!r}; expected LOW-HIGH with 0 <= LOW < HIGH <= 1, such as 0-0.85")
    return low, high
