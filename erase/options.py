"""Options as frozen dataclass fields: default, help, bounds and choices in one place.

The command line, the web page and the record of a run are all made from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from typing import Any

from erase.errors import InputError


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    late: bool = False,
) -> Any:
    """A dataclass field with its help and what it may be: low <= value <= high, value > above, or one of choices.

    `late`: younger than runs that people have. Its default changes nothing, and is not told of a run (`told`), so that these go on.
    """
    rules = {"low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata={"help": help, **rules, "late": late})


def told(options: Any, preset: Mapping[str, Any]) -> dict[str, Any]:
    """A dataclass of options for the record of a run: all but the `late` ones at defaults that the preset leaves as they are."""
    late = {item.name: item.default for item in fields(options) if item.metadata.get("late") and item.name not in preset}
    return {name: value for name, value in asdict(options).items() if name not in late or value != late[name]}


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
