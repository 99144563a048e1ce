"""An estimate and sizes as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from erase.concepts.english import spoken_duration


def estimated(found: Mapping[str, Any] | None) -> str:
    """What the engine expects of a job, before it starts."""
    if found is None:
        return "<p class=muted>Time, memory and disk: unknown.</p>"
    seconds = found.get("seconds")
    rows = {"Time": f"about {spoken_duration(seconds)}" if isinstance(seconds, int | float) else "unknown"}
    rows |= {name.capitalize(): str(found.get(name) or size(found.get(f"{name}_bytes"))) for name in ("memory", "disk")}
    return "<dl class=estimate>" + "".join(f"<dt>{name}</dt><dd>{escape(words)}</dd>" for name, words in rows.items()) + "</dl>"


def size(count: Any) -> str:
    """Bytes as people say them."""
    if not isinstance(count, int | float):
        return "unknown"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
