"""Methods by name. A method is a frozen dataclass of hyperparameters; calling it on a Task yields Steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from erase.methods.boundary_expand import BoundaryExpand
from erase.methods.boundary_shrink import BoundaryShrink
from erase.methods.fine_tune import FineTune
from erase.methods.gradient_ascent import GradientAscent
from erase.methods.influence import Influence
from erase.methods.l1_sparse import L1Sparse
from erase.methods.random_label import RandomLabel
from erase.methods.retrain import Retrain
from erase.methods.salun import SalUn
from erase.methods.scissorhands import Scissorhands
from erase.methods.scissorhands_classifier import ClassifierScissorhands
from erase.task import InputError

METHODS: dict[str, type] = {"scissorhands": Scissorhands}
"""For diffusion models."""

CLASSIFIER_METHODS: dict[str, type] = {
    "retrain": Retrain,
    "fine_tune": FineTune,
    "gradient_ascent": GradientAscent,
    "random_label": RandomLabel,
    "influence": Influence,
    "boundary_shrink": BoundaryShrink,
    "boundary_expand": BoundaryExpand,
    "l1_sparse": L1Sparse,
    "salun": SalUn,
    "scissorhands": ClassifierScissorhands,
}
"""For classifiers, in the order of the paper's tables."""


def make_method(name: str, preset: str = "balanced", table: Mapping[str, type] = METHODS, **values: Any) -> Any:
    """A method of a table by name: the values given, on top of its preset."""
    if name not in table:
        raise InputError(f"--method {name!r} is unknown; expected one of {', '.join(table)}")
    method: Any = table[name]
    if preset not in method.presets:
        raise InputError(f"--preset {preset!r} is unknown; {name} has {', '.join(method.presets)}")
    known = [item.name for item in fields(method)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{name} has no option {key!r}{hint}; it has {', '.join(known)}")
    return method(**{**method.presets[preset], **values})
