"""Sharing a time budget among attacks: whose turn is next. Pure functions; knows no attack."""

from __future__ import annotations

import re
from collections.abc import Mapping

from erase.errors import InputError

LONGEST = 1e7  # of one unit
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """ "10m", "90s", "1.5h" or plain seconds; InputError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if match is None or not 0 < float(match[1]) <= LONGEST:
        raise InputError(f"--budget {text} is not a time; expected e.g. 90s, 10m or 1h", option="budget")
    return float(match[1]) * UNITS[match[2] or "s"]


def whose(spent: Mapping[str, float], turns: Mapping[str, float], left: float) -> str | None:
    """The attack on which least time was spent, of those whose next turn fits into what is left; the shorter turn first.

    `turns` holds what the next turn of each unfinished attack takes, in seconds. None where none fits.
    """
    fit = [name for name, takes in turns.items() if takes <= left]
    return min(fit, key=lambda name: (spent[name], turns[name]), default=None)
