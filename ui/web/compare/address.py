"""A comparison in the address of the page: what was asked for, so that opening the address asks for it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ui.web.runs import OWN

MODELS_OWN = "model's own"  # of sampler and size
LONGEST = 6000  # letters of an address that every browser and server takes
NAMES = {  # in the address -> field of a request
    "prompt": "prompts", "model": "models", "seed": "seed", "images": "count", "steps": "steps", "guidance": "guidance",
    "negative": "negative", "sampler": "sampler", "size": "size", "original": "original", "concept": "concept",
}  # fmt: skip
NUMBERS = {"seed": int, "count": int, "steps": int, "guidance": float}


def query(fields: Mapping[str, Any], prompts: Iterable[str], seed: int) -> str:
    """The part of the address after "?"; empty where it would be too long. `seed` is the one that was drawn with."""
    plain = dict.fromkeys(("original", "concept"), OWN) | dict.fromkeys(("sampler", "size"), MODELS_OWN) | {"negative": ""}
    pairs = [("prompt", text) for text in prompts] + [("model", str(name)) for name in fields["models"]] + [("seed", str(seed))]
    for name, field in NAMES.items():
        value = fields.get(field)
        if field not in ("prompts", "models", "seed") and value not in (None, plain.get(field)):
            pairs.append((name, f"{value:g}" if isinstance(value, float) else str(value)))
    text = urlencode(pairs)
    return text if len(text) <= LONGEST else ""


def restored(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a request that an address names; empty for one that names no prompt. What is no number is left out."""
    fields: dict[str, Any] = {}
    lines: list[str] = []
    models: list[str] = []
    for name, value in list(pairs)[:100]:
        field = NAMES.get(name)
        if field == "prompts":
            lines.append(" ".join(value.split()))
        elif field == "models":
            models.append(value)
        elif field in NUMBERS:
            try:
                fields[field] = NUMBERS[field](value)
            except ValueError:
                continue
        elif field:
            fields[field] = value
    return {**fields, "prompts": "\n".join(lines), "models": models} if any(lines) else {}
