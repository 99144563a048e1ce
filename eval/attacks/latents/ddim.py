"""The deterministic sampler of DDIM (Song et al., arXiv 2010.02502), forwards and backwards, from latents that the attacker chooses.

A pipeline's own sampler begins at noise and may add fresh noise on the way; these attacks begin elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from eval.attacks.victim import PromptEmbeddings, Victim

Predictor = Callable[[Tensor, int], Tensor]
"""Latents (n, c, h, w) and a timestep -> the network's prediction (n, c, h, w)."""


def times(victim: Victim, steps: int, share: float = 1.0) -> list[int]:
    """Timesteps from the noisiest down, `steps` of them and then -1, the clean image; of the first `share` of the schedule."""
    end = victim.objective.levels * share
    return [round(end * (steps - k) / steps) - 1 for k in range(steps)] + [-1]


def split(victim: Victim, latents: Tensor, answer: Tensor, time: int) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise that a prediction implies."""
    return victim.objective.implied(latents, answer, scales(victim, time))


def scales(victim: Victim, time: int) -> tuple[float, float]:
    """The factors of the image and of the noise at a level, for alphas sqrt(alpha_bar) and sqrt(1 - alpha_bar); at -1 they are 1 and 0."""
    return victim.objective.scale(time)


def ddim_step(victim: Victim, latents: Tensor, answer: Tensor, start: int, end: int) -> Tensor:
    """One DDIM step: latents at timestep `start` taken to `end` by the prediction for them."""
    clean, noise = split(victim, latents, answer, start)
    keep, spoil = scales(victim, end)
    return keep * clean + spoil * noise


def predictor(victim: Victim, embeddings: PromptEmbeddings) -> Predictor:
    """Predictions under these prompt embeddings (n), in batches."""

    def answer(latents: Tensor, time: int) -> Tensor:
        at = victim.objective.timesteps(torch.full((len(latents),), max(time, 0)))
        size = victim.batch
        parts = [victim.predict(latents[i : i + size], at[i : i + size], embeddings[i : i + size]) for i in range(0, len(latents), size)]
        return torch.cat(parts)

    return answer


@torch.no_grad()
def drawn(victim: Victim, latents: Tensor, answer: Predictor, at: list[int]) -> Tensor:
    """Denoise from the first of the timesteps `at` to the last."""
    for start, end in pairwise(at):
        latents = ddim_step(victim, latents, answer(latents, start), start, end)
    return latents


@torch.no_grad()
def inverted(victim: Victim, clean: Tensor, answer: Predictor, at: list[int], refinements: int = 0) -> list[Tensor]:
    """Clean latents at each of the timesteps `at`, noisiest first: each DDIM step inverted by the prediction at its less noisy end.

    The last of them is `clean` itself. Where steps are small, DDIM draws the image again from this noise. `refinements` of a step use
    the prediction where the step has led to instead; where they converge, the step back leads to where it came from.
    """
    path = [clean]
    for end, start in zip(at[-2::-1], at[:0:-1], strict=True):
        # the prediction at the noisier end is not known yet, so the other end's replaces it; for clean latents that of the first timestep
        reached = ddim_step(victim, path[0], answer(path[0], start), start, end)
        for _ in range(refinements):
            reached = _refined(victim, path[0], reached, answer, start, end)
        path.insert(0, reached)
    return path


def _refined(victim: Victim, latents: Tensor, reached: Tensor, answer: Predictor, start: int, end: int) -> Tensor:
    """Latents at `end` from which the noise that is seen in `reached` leads to `latents`: one fixed-point iteration."""
    noise = split(victim, reached, answer(reached, end), end)[1]
    (keep, spoil), (keep_end, spoil_end) = scales(victim, start), scales(victim, end)
    return keep_end * (latents - spoil * noise) / keep + spoil_end * noise
