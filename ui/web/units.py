"""Time, memory and disk as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def estimated(found: Mapping[str, Any] | None) -> str:
    """What the engine expects of a job, before it starts."""
    if found is None:
        return "<p class=muted>Time, memory and disk: unknown.</p>"
    seconds = found.get("seconds")
    rows = {"Time": f"about {duration(seconds)}" if isinstance(seconds, int | float) else "unknown"}
    rows |= {name.capitalize(): str(found.get(name) or size(found.get(f"{name}_bytes"))) for name in ("memory", "disk")}
    return "<dl class=estimate>" + "".join(f"<dt>{name}</dt><dd>{escape(words)}</dd>" for name, words in rows.items()) + "</dl>"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: Any) -> str:
    """Bytes as people say them."""
    if not isinstance(count, int | float):
        return "unknown"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
