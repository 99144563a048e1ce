"""Methods by name, and everything that a method of another package needs to import.

A method is a frozen dataclass of hyperparameters; calling it on a Task yields Steps. Importing this module imports no torch:
the training loop (`Side`, `tune`, `weighted`) is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, overload

from erase.errors import InputError
from erase.methods.base import ClassifierMethod, DiffusionMethod, Method
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
from erase.methods.diffusion.aegis import AEGIS
from erase.methods.diffusion.concept_ablation import ConceptAblation
from erase.methods.diffusion.concept_prune import ConceptPrune
from erase.methods.diffusion.erasediff import EraseDiff
from erase.methods.diffusion.esd import ESD
from erase.methods.diffusion.fine_tune import DiffusionFineTune
from erase.methods.diffusion.forget_me_not import ForgetMeNot
from erase.methods.diffusion.gradient_ascent import DiffusionGradientAscent
from erase.methods.diffusion.munba import MUNBa
from erase.methods.diffusion.orthograd import OrthoGrad
from erase.methods.diffusion.random_label import DiffusionRandomLabel
from erase.methods.diffusion.retrain import DiffusionRetrain
from erase.methods.diffusion.salun import DiffusionSalUn
from erase.methods.diffusion.scissorhands import Scissorhands
from erase.methods.diffusion.selective_amnesia import SelectiveAmnesia
from erase.methods.diffusion.sld import SafeLatentDiffusion
from erase.methods.diffusion.uce import UCE
from erase.methods.plugins import Methods
from erase.methods.requirements import Requirements, one_anchor_option
from erase.methods.text_encoder.adv_unlearn import AdvUnlearn
from erase.methods.text_encoder.few_shot import FewShot
from erase.methods.text_encoder.hirm import HiRM
from erase.options import check, option
from erase.training.learning_rates import rate_of, rate_option

if TYPE_CHECKING:
    from erase.training.two_loss_loop import Side, tune, weighted

__all__ = [
    "CLASSIFIER_METHODS", "METHODS", "ClassifierMethod", "DiffusionMethod", "Method", "Requirements", "Side", "check", "make_method",
    "method_class", "one_anchor_option", "option", "preset_values", "rate_of", "rate_option", "tune", "weighted",
]  # fmt: skip

M = TypeVar("M", bound=Method)

METHODS = Methods(
    {
        "scissorhands": Scissorhands,
        "salun": DiffusionSalUn,
        "esd": ESD,
        "uce": UCE,
        "concept_ablation": ConceptAblation,
        "erasediff": EraseDiff,
        "munba": MUNBa,
        "orthograd": OrthoGrad,
        "aegis": AEGIS,
        "concept_prune": ConceptPrune,
        "selective_amnesia": SelectiveAmnesia,
        "forget_me_not": ForgetMeNot,
        "hirm": HiRM,
        "few_shot": FewShot,
        "adv_unlearn": AdvUnlearn,
        "fine_tune": DiffusionFineTune,
        "gradient_ascent": DiffusionGradientAscent,
        "random_label": DiffusionRandomLabel,
        "sld": SafeLatentDiffusion,
        "retrain": DiffusionRetrain,
    }
)
"""For diffusion models: the built-in methods, and those of installed packages (entry points `erase_concept.methods`)."""

CLASSIFIER_METHODS: dict[str, type[ClassifierMethod]] = {
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


@overload
def method_class(name: str) -> type[DiffusionMethod]: ...
@overload
def method_class(name: str, table: Mapping[str, type[M]], flag: str = "--method") -> type[M]: ...
def method_class(name: str, table: Mapping[str, type[Any]] = METHODS, flag: str = "--method") -> type[Any]:
    """A method's class by name; InputError for a name that is unknown, or known for the other kind of task."""
    if name in table:
        return table[name]
    others: tuple[Mapping[str, type[Method]], ...] = (METHODS, CLASSIFIER_METHODS)
    for other in others:
        if other is not table and name in other:
            raise InputError(
                f"{flag} {name!r} is a method for {TASKS[id(other)]}, not for {TASKS[id(table)]}: give {', '.join(table)}", option="method"
            )
    raise InputError(f"{flag} {name!r} is unknown; expected one of {', '.join(table)}", option="method")


@overload
def make_method(name: str, preset: str, table: Mapping[str, type[M]], **values: Any) -> M: ...
@overload
def make_method(name: str, preset: str = "balanced", *, table: Mapping[str, type[M]], **values: Any) -> M: ...
@overload
def make_method(name: str, preset: str = "balanced", **values: Any) -> DiffusionMethod: ...
def make_method(name: str, preset: str = "balanced", table: Mapping[str, type[Any]] = METHODS, **values: Any) -> Any:
    """A method of a table by name: these values of its options, on top of its preset."""
    method = method_class(name, table)
    if preset not in method.presets:
        raise InputError(f"--preset {preset!r} is unknown; {name} has {', '.join(method.presets)}", option="preset")
    known = [item.name for item in fields(method)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{name} has no option {key!r}{hint}; it has {', '.join(known)}")
    return method(**{**method.presets[preset], **values})


def preset_values(method: type[Method], preset: str, kind: str | None = None) -> dict[str, Any]:
    """The values that a preset has beside the defaults; for a `kind` of concept with those that papers have for it."""
    by_kind: Mapping[str, Any] = getattr(method, "kinds", {}).get(preset, {}).get(kind, {})
    return {**method.presets[preset], **by_kind}


def __getattr__(name: str) -> Any:
    """The training loop, whose module imports torch."""
    if name not in ("Side", "tune", "weighted"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from erase.training import two_loss_loop

    return {"Side": two_loss_loop.Side, "tune": two_loss_loop.tune, "weighted": two_loss_loop.weighted}[name]
