"""The option `learning_rate`: a number, or by default a rate scaled to the width of the network. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from erase.options import option
from erase.scope import is_factor

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 96
"""Inputs of a matrix in the embedded model's cross-attention, on which the default rates were tuned."""

FIXED = ("adafactor", "sgd")
"""Optimizers whose default rate does not depend on the width: adafactor's updates are relative to the weights, and sgd's to gradients."""


class Trained(Protocol):
    """The scope and optimizer of a method (`erase.methods.Requirements`)."""

    @property
    def scope(self) -> str: ...
    @property
    def optimizer(self) -> str | None: ...


class HasRate(Protocol):
    """A method: a dataclass whose field `learning_rate` was declared with `rate_option`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def learning_rate(self) -> float | None: ...
    @property
    def requirements(self) -> Trained: ...


def rate_option(usual: float, help: str = "learning rate", full: float | None = None) -> Any:
    """The field `learning_rate` of a method: a number, or None for `usual` on networks as wide as the embedded model.

    With the scope `full` the default is `full`, if given: an update of all weights changes the network more than one of some.
    """
    all_weights = "" if full is None else f", {full:g} with --scope full"
    text = f"{help}; by default {usual:g}{all_weights}, and lower in proportion on networks wider than the embedded model"
    return field(default=None, metadata={**option(None, text, above=0.0).metadata, "usual": usual, "full": full or usual})


def rate_of(method: HasRate, weights: Mapping[str, Tensor]) -> float:
    """`method.learning_rate`; where that is None the default rate, divided by the relative width of `weights`.

    The same change of a matrix's output takes a smaller step the more inputs it sums: Adam's rate is proportional to one over
    the number of inputs (Yang et al. 2022, arXiv 2203.03466). The width is the median over the matrices in `weights`, each
    (outputs, inputs). Low-rank factors need no such correction: the first one begins with entries proportional to the root of one over
    the number of inputs, so a step of the second changes the output alike at every width.
    """
    if method.learning_rate is not None:
        return float(method.learning_rate)
    kind = "full" if method.requirements.scope == "full" else "usual"
    usual = next(item.metadata[kind] for item in fields(method) if item.name == "learning_rate")
    inputs = [weight.shape[1] for name, weight in weights.items() if weight.ndim == 2 and not is_factor(name)]
    wider = max(1.0, median(inputs) / WIDTH) if inputs and method.requirements.optimizer not in FIXED else 1.0
    return float(usual) / wider
