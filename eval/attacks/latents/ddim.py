"""The deterministic sampler of DDIM (Song et al., arXiv 2010.02502), forwards and backwards, for latents in the attacker's hand.

A pipeline's own sampler begins at noise and may add fresh noise on the way; these attacks begin elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from eval.attacks.victim import Said, Victim

Answer = Callable[[Tensor, int], Tensor]
"""Latents (n, c, h, w) at a timestep -> what the network answers."""


def times(victim: Victim, steps: int, share: float = 1.0) -> list[int]:
    """Timesteps from the noisiest down, `steps` of them and then -1, the clean picture; of the first `share` of the schedule."""
    end = int(victim.scheduler.config.num_train_timesteps) * share
    return [round(end * (steps - k) / steps) - 1 for k in range(steps)] + [-1]


def split(victim: Victim, latents: Tensor, answer: Tensor, time: int) -> tuple[Tensor, Tensor]:
    """The clean picture and the noise that an answer implies."""
    keep, spoil = scales(victim, time)
    if victim.scheduler.config.prediction_type == "v_prediction":
        return keep * latents - spoil * answer, spoil * latents + keep * answer
    return (latents - spoil * answer) / keep, answer


def scales(victim: Victim, time: int) -> tuple[float, float]:
    """How much of the picture, and of noise, there is at a timestep; at -1 all and none."""
    signal = 1.0 if time < 0 else float(victim.scheduler.alphas_cumprod[time])
    return signal**0.5, (1 - signal) ** 0.5


def moved(victim: Victim, latents: Tensor, answer: Tensor, here: int, there: int) -> Tensor:
    """Latents of one timestep at another, by the answer that was given to them there."""
    clean, noise = split(victim, latents, answer, here)
    keep, spoil = scales(victim, there)
    return keep * clean + spoil * noise


def spoken(victim: Victim, said: Said) -> Answer:
    """Answers under these texts (n), a batch at a time."""

    def answer(latents: Tensor, time: int) -> Tensor:
        at = torch.full((len(latents),), max(time, 0))
        size = victim.batch
        parts = [victim.predict(latents[i : i + size], at[i : i + size], said[i : i + size]) for i in range(0, len(latents), size)]
        return torch.cat(parts)

    return answer


@torch.no_grad()
def drawn(victim: Victim, latents: Tensor, answer: Answer, at: list[int]) -> Tensor:
    """From the first of the timesteps `at` to the last."""
    for here, there in pairwise(at):
        latents = moved(victim, latents, answer(latents, here), here, there)
    return latents


@torch.no_grad()
def inverted(victim: Victim, clean: Tensor, answer: Answer, at: list[int]) -> list[Tensor]:
    """Clean latents at each of the timesteps `at`, noisiest first: each step of DDIM undone by the answer at its nearer end.

    The last of them is `clean` itself. Where steps are small the noise is one from which DDIM draws the picture again.
    """
    path = [clean]
    for there, here in zip(at[-2::-1], at[:0:-1], strict=True):
        # the answer at the noisier end is not known yet; the nearer one's stands in; of the clean picture the first timestep's
        path.insert(0, moved(victim, path[0], answer(path[0], here), here, there))
    return path
