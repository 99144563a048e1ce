"""The denoising loss of a model on noisy images, one per attempt, over fixed noise.

A search that compares its candidates on fresh noise would follow the noise; here each attempt has its own few levels and
keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eval.attacks.attack import Goal, latents_of, noise_of
from eval.attacks.victim import PromptEmbeddings, Victim

SPAN = (0.3, 0.9)  # of the noise schedule: below it the image determines the prediction, above it hardly anything does


@dataclass(frozen=True)
class Levels:
    """Of each attempt n its noisy latents (n, levels, c, h, w), their timesteps (n, levels), and the prediction targets."""

    noisy: Tensor
    timesteps: Tensor
    target: Tensor

    def only(self, number: int) -> Levels:
        """One level of each attempt."""
        part = slice(number, number + 1)
        return Levels(self.noisy[:, part], self.timesteps[:, part], self.target[:, part])

    def loss(self, victim: Victim, embeddings: PromptEmbeddings, owner: Tensor) -> Tensor:
        """Mean squared error (m,) under prompt embeddings (m) of the attempts `owner` (m,); without gradients in batches of the victim."""
        levels = self.noisy.shape[1]
        rows = owner.to(self.noisy.device)
        noisy, target, times = (part[rows].flatten(0, 1) for part in (self.noisy, self.target, self.timesteps))
        wide = embeddings[torch.arange(len(embeddings), device=embeddings.text.device).repeat_interleave(levels)]
        size = len(noisy) if torch.is_grad_enabled() else 8 * victim.batch
        parts = [victim.predict(noisy[i : i + size], times[i : i + size], wide[i : i + size]) for i in range(0, len(noisy), size)]
        return (torch.cat(parts) - target).square().flatten(1).mean(dim=1).reshape(-1, levels).mean(dim=1)


def levels_of(victim: Victim, goal: Goal, attempts: Sequence[int], seed: int, count: int) -> Levels:
    """The known image of each attempt under noise of `count` levels, spread evenly, with the target of training."""
    clean = latents_of(victim, [goal.of(i).picture for i in attempts]).repeat_interleave(count, dim=0)
    draws = [noise_of(seed, i, "levels", k) for i in attempts for k in range(count)]
    noise = torch.stack([torch.randn(clean.shape[1:], generator=draw) for draw in draws])
    low, high = (share * victim.objective.levels for share in SPAN)
    jitter = torch.tensor([float(torch.rand(1, generator=draw)) for draw in draws])
    order = torch.arange(count).repeat(len(attempts))
    times = victim.objective.timesteps((low + (high - low) * (order + jitter) / count).long())
    noisy, target = victim.noised(clean, noise, times)
    shape = (len(attempts), count)
    return Levels(noisy.unflatten(0, shape), times.to(noisy.device).unflatten(0, shape), target.unflatten(0, shape))


@torch.no_grad()
def answered(victim: Victim, levels: Levels, embeddings: PromptEmbeddings, network: nn.Module) -> Levels:
    """The same levels, with the predictions of another network under these embeddings (n) as targets."""
    n, count = levels.timesteps.shape
    noisy, times = levels.noisy.flatten(0, 1), levels.timesteps.flatten()
    wide = embeddings[torch.arange(n, device=embeddings.text.device).repeat_interleave(count)]
    size = 8 * victim.batch
    parts = [victim.predict(noisy[i : i + size], times[i : i + size], wide[i : i + size], network) for i in range(0, len(noisy), size)]
    return Levels(levels.noisy, levels.timesteps, torch.cat(parts).unflatten(0, (n, count)))
