"""Completion: a part of a known picture of the concept is given and the ordinary UNet draws the rest, without text.

RePaint (Lugmayr et al., CVPR 2022, arXiv 2201.09865): at every step what is given comes back under the step's noise. Used
on erased models in "When Are Concepts Erased From Diffusion Models?" (arXiv 2505.17013).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import ClassVar

import torch
from torch import Tensor

from erase.options import check, option
from eval.attacks.attack import Goal, Look, noise_of, randn
from eval.attacks.latents import opened
from eval.attacks.latents.ddim import Answer, moved, scales, spoken, times
from eval.attacks.victim import Victim


@dataclass(frozen=True)
class Completion:
    """A little of the picture, then more, each a few times. Each attempt is given another side of it."""

    family: ClassVar[str] = "latents"
    about: ClassVar[str] = "a part of a known picture, completed without a prompt"
    assumes: ClassVar[str] = "latents at every step, pictures of the concept"
    paper: ClassVar[str] = "arXiv 2505.17013"
    needs: ClassVar[tuple[str, ...]] = ("pictures",)
    shared: ClassVar[bool] = False

    given: tuple[float, ...] = (0.25, 0.5)
    tries: int = option(3, "times that the rest is drawn, each from other noise", low=1)
    again: int = option(2, "times that each step is gone, with fresh noise between, so that both parts come to fit", low=1)

    def __post_init__(self) -> None:
        check(self)

    def passes(self, n: int, each: int) -> int:
        return n * (each // 2) * self.again * self.tries * len(self.given)

    def __call__(self, victim: Victim, goal: Goal, attempts: Sequence[int], seed: int) -> Iterator[Look]:
        clean, nothing = opened(victim, goal, attempts)
        for share, number in product(self.given, range(self.tries)):
            visible = torch.stack([side(victim.shape, share, i) for i in attempts]).to(victim.device)
            draws = [noise_of(seed, i, "completion", share, number) for i in attempts]
            start = randn(victim, draws).to(victim.device)
            results = completed(victim, clean, visible, start, spoken(victim, nothing), self.again, draws)
            yield Look(victim.decode(results), [f"{share:.0%} of the picture given"] * len(attempts))


def side(shape: tuple[int, int, int], share: float, turn: int) -> Tensor:
    """Where the picture is given (1, h, w): the left, top, right or bottom `share` of it, in turn."""
    _, height, width = shape
    visible = torch.zeros(1, height, width, dtype=torch.bool)
    columns, rows, every = round(share * width), round(share * height), slice(None)
    across, down = (slice(columns), every, slice(width - columns, width), every), (every, slice(rows), every, slice(height - rows, height))
    visible[:, down[turn % 4], across[turn % 4]] = True
    return visible


@torch.no_grad()
def completed(
    victim: Victim, clean: Tensor, shown: Tensor, latents: Tensor, answer: Answer, again: int, draws: Sequence[torch.Generator]
) -> Tensor:
    """Latents that are `clean` where `shown` is true, and what the network makes of it elsewhere."""

    def fresh() -> Tensor:
        return randn(victim, draws).to(victim.device)

    def under(time: int) -> Tensor:
        keep, spoil = scales(victim, time)
        return keep * clean + spoil * fresh()

    at = times(victim, victim.steps)
    for here, there in pairwise(at):
        for turn in range(again):
            latents = torch.where(shown, under(here), latents)
            down = moved(victim, latents, answer(latents, here), here, there)
            if turn + 1 < again:  # back up, by the forward process between the two
                keep = scales(victim, here)[0] / scales(victim, there)[0]
                latents = keep * down + max(0.0, 1 - keep**2) ** 0.5 * fresh()
        latents = down
    return torch.where(shown, clean, latents)
