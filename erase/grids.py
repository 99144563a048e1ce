"""What --tune tries: for each method the same number of settings, its default among them. A table, no work."""

from __future__ import annotations

from typing import Any

SETTINGS = 6

GRIDS: dict[str, tuple[dict[str, Any], ...]] = {}
