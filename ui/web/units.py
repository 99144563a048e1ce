"""Time, memory and disk in words."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from erase.concepts.english import spoken_duration


def estimated(estimate: Mapping[str, Any] | None) -> str:
    """The engine's estimate of a job, as HTML."""
    if estimate is None:
        return "<p class=muted>Time, memory and disk: unknown.</p>"
    seconds = estimate.get("seconds")
    rows = {"Time": f"about {spoken_duration(seconds)}" if isinstance(seconds, int | float) else "unknown"}
    rows |= {name.capitalize(): str(estimate.get(name) or size(estimate.get(f"{name}_bytes"))) for name in ("memory", "disk")}
    return "<dl class=estimate>" + "".join(f"<dt>{name}</dt><dd>{escape(words)}</dd>" for name, words in rows.items()) + "</dl>"


def size(count: Any) -> str:
    """Bytes in words."""
    if not isinstance(count, int | float):
        return "unknown"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def unbroken(words: str) -> str:
    """Text as HTML, in which no line ends between a number and its percent sign."""
    return escape(words).replace(" %", "&nbsp;%")
