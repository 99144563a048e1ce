"""Methods by name. A method is a frozen dataclass of hyperparameters; calling it on a Task yields Steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from erase.errors import InputError
from erase.methods.classifiers.boundary_expand import BoundaryExpand
from erase.methods.classifiers.boundary_shrink import BoundaryShrink
from erase.methods.classifiers.fine_tune import FineTune
from erase.methods.classifiers.gradient_ascent import GradientAscent
from erase.methods.classifiers.influence import Influence
from erase.methods.classifiers.l1_sparse import L1Sparse
from erase.methods.classifiers.random_label import RandomLabel
from erase.methods.classifiers.retrain import Retrain
from erase.methods.classifiers.salun import SalUn
from erase.methods.classifiers.scissorhands import ClassifierScissorhands
from erase.methods.diffusion.concept_ablation import ConceptAblation
from erase.methods.diffusion.erasediff import EraseDiff
from erase.methods.diffusion.esd import ESD
from erase.methods.diffusion.fine_tune import DiffusionFineTune
from erase.methods.diffusion.gradient_ascent import DiffusionGradientAscent
from erase.methods.diffusion.munba import MUNBa
from erase.methods.diffusion.random_label import DiffusionRandomLabel
from erase.methods.diffusion.retrain import DiffusionRetrain
from erase.methods.diffusion.salun import DiffusionSalUn
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.methods.diffusion.uce import UCE
from erase.methods.plugins import Methods

METHODS = Methods(
    {
        "scissorhands": Scissorhands,
        "salun": DiffusionSalUn,
        "esd": ESD,
        "uce": UCE,
        "concept_ablation": ConceptAblation,
        "erasediff": EraseDiff,
        "munba": MUNBa,
        "fine_tune": DiffusionFineTune,
        "gradient_ascent": DiffusionGradientAscent,
        "random_label": DiffusionRandomLabel,
        "retrain": DiffusionRetrain,
    }
)
"""For diffusion models: ours, and those that installed packages add (the entry points `erase_concept.methods`)."""

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

TASKS = {id(METHODS): "text-to-image models", id(CLASSIFIER_METHODS): "classifiers (`erase-concept classify`)"}


def method_class(name: str, table: Mapping[str, type] = METHODS, flag: str = "--method") -> Any:
    """A method's class by name; InputError for a name that is unknown, or known for the other kind of task."""
    if name in table:
        return table[name]
    for other in (METHODS, CLASSIFIER_METHODS):
        if other is not table and name in other:
            raise InputError(f"{flag} {name!r} is a method for {TASKS[id(other)]}, not for {TASKS[id(table)]}: give {', '.join(table)}")
    raise InputError(f"{flag} {name!r} is unknown; expected one of {', '.join(table)}")


def make_method(name: str, preset: str = "balanced", table: Mapping[str, type] = METHODS, **values: Any) -> Any:
    """A method of a table by name: the values given, on top of its preset."""
    method = method_class(name, table)
    if preset not in method.presets:
        raise InputError(f"--preset {preset!r} is unknown; {name} has {', '.join(method.presets)}")
    known = [item.name for item in fields(method)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{name} has no option {key!r}{hint}; it has {', '.join(known)}")
    return method(**{**method.presets[preset], **values})
