"""A learning rate that fits the width of a network, where none is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from statistics import median
from typing import Any

from torch import Tensor

from erase.options import option

WIDTH = 96  # inputs of a matrix in the embedded model's cross-attention, on which the usual rates were chosen
FIXED = ("adafactor", "sgd")  # adafactor's steps are relative to the weights; sgd's rates do not go with the width


def rate_option(usual: float, help: str = "step size", full: float | None = None) -> Any:
    """The field `learning_rate` of a method: a number, or None for `usual` on networks as wide as the embedded model.

    With the scope `full` the usual rate is `full`, where that is given: a step of all weights goes further than one of some.
    """
    wide = "" if full is None else f", {full:g} with --scope full"
    said = f"{help}; by default {usual:g}{wide}, and less in proportion on networks wider than the embedded one"
    return field(default=None, metadata={**option(None, said, above=0.0).metadata, "usual": usual, "full": full or usual})


def rate_of(method: Any, weights: Mapping[str, Tensor]) -> float:
    """`method.learning_rate`, or where that is None the usual one, on wider networks less in proportion.

    The same change of what a matrix gives takes a step that is smaller the more inputs it adds up: Adam's rate goes with one over
    the inputs (Yang et al. 2022, arXiv 2203.03466). The width is the median over the matrices among `weights`, (outputs, inputs).
    """
    if method.learning_rate is not None:
        return float(method.learning_rate)
    kind = "full" if getattr(method, "scope", None) == "full" else "usual"
    usual = next(item.metadata[kind] for item in fields(method) if item.name == "learning_rate")
    inputs = [weight.shape[1] for weight in weights.values() if weight.ndim == 2]
    wider = max(1.0, median(inputs) / WIDTH) if inputs and method.optimizer not in FIXED else 1.0
    return float(usual) / wider
