"""One turn: a few attempts of an attack on one subject, judged look by look until all have succeeded or the attack ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from erase.errors import InputError
from eval.attacks.attack import Attack, Goal
from eval.attacks.store import keep, picture_name
from eval.attacks.success import Sight
from eval.attacks.victim import Victim


def turn(
    victim: Victim, goal: Goal, sight: Sight, attack: Attack, attempts: Sequence[int], seed: int, folder: Path, key: str
) -> dict[str, Any]:
    """Run a turn, store it, and return its record: the detector's answer for each attempt at each look, and the effort.

    Effort is in images: UNet passes over the passes that one image takes. Stored is the first image of an attempt that shows the
    concept, or else its last.
    """
    start, n = time.perf_counter(), len(attempts)
    looks: list[list[dict[str, Any]]] = [[] for _ in attempts]
    final: list[Image.Image | None] = [None] * n
    tensors: dict[str, torch.Tensor] = {}
    for look in attack(victim, goal, attempts, seed):
        effort = effort_of(victim, attack, n)
        tensors = dict(look.tensors) or tensors
        for k, (image, (shows, saw)) in enumerate(zip(look.images, sight(look.images), strict=True)):
            if not _succeeded(looks[k]):
                final[k] = image
            measured = {"measured": {name: _finite(values[k]) for name, values in look.numbers.items()}} if look.numbers else {}
            looks[k].append({"effort": effort, "by": look.by[k], "shows": shows, "saw": saw, **measured})
        if all(map(_succeeded, looks)):
            break
    if not looks or not all(looks):
        raise InputError("the attack produced no image")
    rows = [{"index": i, "asked": goal.of(i).text, "looks": looks[k], "picture": picture_name(k)} for k, i in enumerate(attempts)]
    record = {"key": key, "goal": goal.name, "attempts": rows, "seconds": round(time.perf_counter() - start, 3)}
    keep(folder, record, [image for image in final if image is not None], tensors)
    return record


def effort_of(victim: Victim, attack: Attack, n: int) -> float:
    """Effort per attempt so far, in images; a search that all attempts share counts fully for each."""
    passes, each = victim.passes, passes_per_image(victim)
    other = passes.other if attack.shared else passes.other / n
    return round((other + passes.drawing / n) / each, 2)


def _finite(value: float) -> float | None:
    """A number for JSON, which has none that is not finite."""
    return value if math.isfinite(value) else None


def passes_per_image(victim: Victim) -> int:
    """UNet passes of one image, with guidance."""
    return 2 * victim.steps


def _succeeded(looks: Sequence[dict[str, Any]]) -> bool:
    return any(look["shows"] for look in looks)
