"""How much is done: four ready-made amounts of drawing and training, which fill in the options of the form. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ui.web.forms import presets


@dataclass(frozen=True)
class Effort:
    """A ready-made choice: a preset of the method, counts of the job on small models and on others, and a bound of the method's steps."""

    label: str
    preset: str
    small: Mapping[str, Any] = field(default_factory=dict)
    large: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None


QUICK, STANDARD = "quick", "standard"
EFFORTS = {
    QUICK: Effort(
        "Quick look",
        "balanced",
        {"forget_count": 48, "retain_count": 96, "evaluate_count": 16, "sampling_steps": 15},
        {"forget_count": 48, "retain_count": 48, "evaluate_count": 8, "sampling_steps": 20},
        steps=60,
    ),
    STANDARD: Effort("Standard", "balanced"),
    "robust": Effort("Robust", "robust"),
    "paper": Effort("Paper", "paper"),
}
COUNTS = tuple(EFFORTS[QUICK].small)  # the options of the job that a choice fills in


def offered(method: str) -> list[str]:
    """The choices that a method has a preset for."""
    known = presets(method)
    return [name for name, effort in EFFORTS.items() if effort.preset in known]


def counts(name: str, small: bool) -> dict[str, Any]:
    """The options of the job that a choice sets, of a small model or another; None: the model's own default."""
    effort = EFFORTS.get(name)
    chosen = (effort.small if small else effort.large) if effort else {}
    return {**dict.fromkeys(COUNTS), **chosen}


def of_method(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the method that a choice changes; `values` are those of its preset."""
    bound = EFFORTS[name].steps if name in EFFORTS else None
    steps = values.get("steps")
    return {"steps": bound} if bound is not None and isinstance(steps, int) and steps > bound else {}


def of_preset(preset: str, method: str) -> str:
    """The choice that stands for a preset; empty for a preset without one."""
    names = [name for name in offered(method) if EFFORTS[name].preset == preset and name != QUICK]
    return names[0] if names else ""
