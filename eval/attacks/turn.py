"""One turn: a few attempts of an attack on one subject, judged look by look until all of them have succeeded or it ends."""

from __future__ import annotations

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
    """Do it, write it down, and return the record: what each attempt looked like at each look, and after how much effort.

    Effort is in pictures: as many passes through a UNet as drawing so many pictures takes. Of an attempt that succeeded the
    first picture that did is kept, of another the last.
    """
    start, n = time.perf_counter(), len(attempts)
    looks: list[list[dict[str, Any]]] = [[] for _ in attempts]
    final: list[Image.Image | None] = [None] * n
    results: dict[str, torch.Tensor] = {}
    for look in attack(victim, goal, attempts, seed):
        effort = effort_of(victim, attack, n)
        results = dict(look.found) or results
        for k, (image, (shows, saw)) in enumerate(zip(look.images, sight(look.images), strict=True)):
            if not _succeeded(looks[k]):
                final[k] = image
            looks[k].append({"effort": effort, "by": look.by[k], "shows": shows, "saw": saw})
        if all(map(_succeeded, looks)):
            break
    if not looks or not all(looks):
        raise InputError("an attack came to no picture at all")
    rows = [{"index": i, "asked": goal.of(i).text, "looks": looks[k], "picture": picture_name(k)} for k, i in enumerate(attempts)]
    record = {"key": key, "goal": goal.name, "attempts": rows, "seconds": round(time.perf_counter() - start, 3)}
    keep(folder, record, [image for image in final if image is not None], results)
    return record


def effort_of(victim: Victim, attack: Attack, n: int) -> float:
    """So far, an attempt, in pictures; a search that all share is each one's whole search."""
    passes, each = victim.passes, each_picture(victim)
    other = passes.other if attack.shared else passes.other / n
    return round((other + passes.drawing / n) / each, 2)


def each_picture(victim: Victim) -> int:
    """Passes that a picture takes, with guidance."""
    return 2 * victim.steps


def _succeeded(looks: Sequence[dict[str, Any]]) -> bool:
    return any(look["shows"] for look in looks)
