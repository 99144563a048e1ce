"""Options as frozen dataclass fields: default, help, bounds and choices in one place.

The command line, the web page and the record of a run are all made from them.
"""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from erase.task import InputError


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its help and what it may be: low <= value <= high, value > above, or one of choices."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above, "choices": choices})


def check(options: Any) -> None:
    """InputError for the first field of a dataclass that is not what its `option` allows; call it in __post_init__."""
    for item in fields(options):
        value, rule = getattr(options, item.name), item.metadata
        if value is None or not rule:
            continue
        name = f"--{item.name.replace('_', '-')}"
        if rule["choices"] and value not in rule["choices"]:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(rule['choices'])}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}; expected a finite number")
        if rule["low"] is not None and value < rule["low"]:
            raise InputError(f"{name} is {value}; expected at least {rule['low']}")
        if rule["high"] is not None and value > rule["high"]:
            raise InputError(f"{name} is {value}; expected at most {rule['high']}")
        if rule["above"] is not None and value <= rule["above"]:
            raise InputError(f"{name} is {value}; expected more than {rule['above']}")
