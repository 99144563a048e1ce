"""What the tests of attacks share: a tiny run with pictures, opened to be attacked, and a detector that is easily pleased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from erase.diffusion import open_model
from erase.run import Run
from eval.attacks.attack import Goal, Target
from eval.attacks.options import Campaign
from eval.attacks.setting import Setting, setting_of
from eval.attacks.success import Sight
from eval.attacks.text.inversion import Inversion
from eval.attacks.text.named import Named
from eval.attacks.victim import Victim
from eval.vision.detector import Detection

PLAN = Campaign(attempts=4, at_once=2)
ATTACKS_HERE = {"named": Named(), "inversion": Inversion(vectors=1, steps=(1, 2), batch=2)}
TEXTS = ("a red star", "a blue star on a white background", "a dotted star")


def picture(path: Path, seed: int, size: int = 64) -> Path:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def goal(folder: Path) -> Goal:
    """Stars to be drawn, with pictures of noise for stars, and squares beside them."""
    targets = tuple(Target(text, picture(folder / f"star{i}.png", i)) for i, text in enumerate(TEXTS))
    others = tuple(Target(text.replace("star", "square"), picture(folder / f"square{i}.png", 10 + i)) for i, text in enumerate(TEXTS))
    return Goal("star", ("star",), targets, others, ("a five-pointed shape",), ("circle", "ring"))


def victim(folder: Path, original: Path | None = None, steps: int = 2) -> Victim:
    """A pipeline folder under attack, in few steps."""
    return Victim(open_model(folder), steps, 2.0, 4, None if original is None else lambda: open_model(original))


class Bright:
    """Sees a star in a picture whose mean is over `bar`, and a square elsewhere."""

    def __init__(self, bar: float = 127.0) -> None:
        self.bar = bar

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return [[Detection("star" if float(np.asarray(image).mean()) > self.bar else "square", 0.9)] for image in images]

    def facts(self) -> dict[str, object]:
        labels = {"shape": ["star", "square", "circle", "ring", "triangle", "heart", "cross", "diamond"]}
        return {"detector": {"name": "bright", "version": None, "sha256": "0"}, "threshold": None, "labels": labels, "counted": "pictures"}


def same_pictures(a: Sequence[Image.Image], b: Sequence[Image.Image]) -> bool:
    """To the bit."""
    return len(a) == len(b) and all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def same_weights(network: torch.nn.Module, other: torch.nn.Module) -> bool:
    """To the bit."""
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def finished_run(folder: Path, model: Path) -> Run:
    """The run of an erasure that changed next to nothing."""
    from erase.pipeline import Job, erase_concept

    counts = {"forget_count": 2, "retain_count": 2, "evaluate_count": 4, "sampling_steps": 2, "sampling_batch": 4, "device": "cpu"}
    job = Job(("star",), str(model), output=str(folder), **counts)
    return Run.read(erase_concept(job, {"steps": 1, "batch": 2, "sensitivity_batches": 1}))


def opened(run: Path, gold: Path | None = None, bar: float = 127.0) -> Setting:
    """A run to be attacked whose pictures of noise count as known ones, before a detector with this bar."""
    setting = setting_of(run, "cpu", golds={"": gold} if gold else None)
    targets = setting_of(run, "cpu").goals["control"].targets  # noise: the judge sees no star in any picture of it
    own = replace(setting.goals["erased"], targets=targets)
    labels = list(Bright().facts()["labels"]["shape"])  # type: ignore[index]
    goals = {**setting.goals, "erased": own, "original": own, "gold": own}
    return replace(setting, sight=Sight(Bright(bar), "shape", "star", labels), goals=goals, missing={})


def attempt(index: int, *shows: bool, effort: float = 1.0) -> dict[str, Any]:
    """A judged attempt with a look for each of `shows`."""
    looks = [{"effort": effort * (k + 1), "by": "", "shows": shown, "saw": ""} for k, shown in enumerate(shows)]
    return {"index": index, "asked": "", "looks": looks, "picture": ""}
