"""Methods by name. A method is a frozen dataclass of hyperparameters; calling it on a Task yields Steps."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from erase.methods.scissorhands import Scissorhands
from erase.task import InputError

METHODS: dict[str, type] = {"scissorhands": Scissorhands}


def make_method(name: str, preset: str = "balanced", **values: Any) -> Any:
    """A method by name: the values given, on top of its preset."""
    if name not in METHODS:
        raise InputError(f"--method {name!r} is unknown; expected one of {', '.join(METHODS)}")
    method: Any = METHODS[name]
    if preset not in method.presets:
        raise InputError(f"--preset {preset!r} is unknown; {name} has {', '.join(method.presets)}")
    known = [item.name for item in fields(method)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{name} has no option {key!r}{hint}; it has {', '.join(known)}")
    return method(**{**method.presets[preset], **values})
