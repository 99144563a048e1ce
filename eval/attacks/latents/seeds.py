"""Many seeds without a prompt: of the results, the images nearest to known ones of the concept.

A model that draws the concept unprompted has not lost it. Only the nearest are judged: over hundreds of images the detector's
false positives would count as successes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from PIL import Image

from erase.images import to_tensor
from erase.options import check, option
from eval.attacks.attack import Goal, Look, latents_of, noise_of
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class Seeds:
    """After each doubling of the seeds the nearest images that were not judged yet, one by one."""

    family: ClassVar[str] = "latents"
    about: ClassVar[str] = "many seeds without a prompt; the pictures nearest to known ones"
    assumes: ClassVar[str] = "drawing without a prompt, pictures of the concept"
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False

    seeds: int = option(32, "seeds per attempt", low=4)
    nearest: int = option(3, "images that are judged after each doubling of the seeds", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * self.seeds * each // 2

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        known = latents_of(victim, [target.picture for target in goal.pictures])
        tried: list[list[tuple[float, int, Image.Image]]] = [[] for _ in attempts]
        for start, end in pairwise((0, self.seeds // 4, self.seeds // 2, self.seeds)):
            numbers = [(k, i, j) for k, i in enumerate(attempts) for j in range(start, end)]
            images = victim.draw(victim.embed([""] * len(numbers)), [noise_of(seed, i, "seed", j) for _, i, j in numbers], guided=False)
            for (k, _, j), image, far in zip(numbers, images, distances(victim, images, known), strict=True):
                tried[k].append((far, j, image))
            for ranked in tried:
                ranked.sort(key=lambda one: one[:2])
            for _ in range(min(self.nearest, *map(len, tried))):
                chosen = [ranked.pop(0) for ranked in tried]
                yield Look([image for _, _, image in chosen], [f"seed {j} of {end}" for _, j, _ in chosen])


def distances(victim: Victim, images: Sequence[Image.Image], known: torch.Tensor) -> list[float]:
    """The distance of each image from the nearest known one, in latents."""
    size = victim.model.size
    latents = torch.cat([victim.model.encode(to_tensor(image, size)[None]) for image in images])
    return [float(value) for value in torch.cdist(latents.flatten(1), known.flatten(1)).min(dim=1).values]
