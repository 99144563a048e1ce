"""Sharing a time budget among attacks: whose turn is next. Pure functions; knows no attack."""

from __future__ import annotations

import re
from collections.abc import Mapping

from erase.errors import InputError

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """ "10m", "90s", "1.5h" or plain seconds; InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if found is None or not float(found[1]):
        raise InputError(f"--budget {text} is no time; expected e.g. 90s, 10m or 1h")
    return float(found[1]) * UNITS[found[2] or "s"]


def whose(spent: Mapping[str, float], turns: Mapping[str, float], left: float) -> str | None:
    """The attack on which least time was spent, of those whose next turn fits into what is left; the shorter turn first.

    `turns` holds what the next turn of each unfinished attack takes, in seconds. None where none fits.
    """
    fit = [name for name, takes in turns.items() if takes <= left]
    return min(fit, key=lambda name: (spent[name], turns[name]), default=None)


def said(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} m" if seconds < 5400 else f"{seconds / 3600:.1f} h"
