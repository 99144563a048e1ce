"""Cached latents -> batches: images in seeded epochs, with noise, timesteps, prompts and anchors drawn by batch number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from erase.diffusion.batches import Conditioning, DiffusionBatch
from erase.diffusion.latents import ImageLatents, Latents
from erase.diffusion.objectives import Objective
from erase.task import generator

T = TypeVar("T")

Key = tuple[object, ...]
"""The seed of a batch: the seed of the run, the name of the set, the number of the batch."""

HIDDEN = 3.0
"""Noise-to-signal ratio above which the image counts as unrecoverable. At 1 colours were still visible, and the concept returned."""


@dataclass(frozen=True)
class Forgetting:
    """How forget batches are drawn.

    `between` is the range of the timesteps, in shares of the noise schedule (0: no noise). A share `unnamed` of the images is given
    another prompt: half of these the empty one, half a prompt of the retain set. With `redirect`, the target for a noised concept
    image is the prediction that denoises towards the paired anchor image; the shift is limited to `redirect` times the noise level
    (`redirected_target`). Where the noise-to-signal ratio exceeds HIDDEN, images with the concept's prompt keep the original
    network's prediction under the anchor as target.
    """

    between: tuple[float, float] = (0.0, 1.0)
    unnamed: float = 0.0
    redirect: float | None = None


@dataclass(frozen=True)
class BatchDrawer:
    """Draws batches from cached latents, and keeps this process's `rows` of each, on `device`."""

    objective: Objective
    latents: Latents
    device: torch.device
    rows: slice
    empty: bool = False
    """Whether batches carry the conditioning of the empty prompt."""
    forgetting: Forgetting = Forgetting()

    def draw(self, images: ImageLatents, empty_captions: float, rows: Tensor, key: Key) -> DiffusionBatch:
        """The images `rows` (n,), noised; a share `empty_captions` of them under the empty prompt. Every random draw is of `key`."""
        # The order of the draws decides the weights of every run: nothing may be drawn in between.
        random = generator(*key, "noise")
        clean = images.latents[rows]
        noise = torch.randn(clean.shape, generator=random)
        timesteps = self.objective.draw(len(rows), self.forgetting.between, random)
        silent = torch.rand(len(rows), generator=random) < empty_captions
        text_rows, named = self._unnamed(images.text[rows].masked_fill(silent, 0), key)
        batch = DiffusionBatch(
            noisy=self.objective.noised(clean, noise, timesteps),
            timesteps=timesteps,
            target=self.objective.target(clean, noise, timesteps),
            prompt=self._conditioning(text_rows),
            empty=self._conditioning(torch.zeros_like(text_rows)) if self.empty else None,
            marks=None if self.latents.marks is None else self.latents.marks[text_rows],
        )
        if images.anchors.shape[1]:
            choice = torch.randint(images.anchors.shape[1], (len(rows), 1), generator=random)
            anchor = self._conditioning(images.anchors[rows].gather(1, choice)[:, 0])
            batch = replace(batch, anchor=anchor, unlearn_input=batch.noisy)
        if images.anchor_latents is not None:
            swapped = (torch.rand(len(rows), generator=random) < 0.5) & named
            anchor_images = images.anchor_latents[rows]
            noisy_anchors = self.objective.noised(anchor_images, noise, timesteps)
            batch = replace(batch, unlearn_input=torch.where(per_image(swapped), noisy_anchors, batch.noisy))
            if self.forgetting.redirect is not None:
                # A hidden image can only be guessed; the original's prediction under the anchor is that guess, whichever image is paired.
                hidden = self.objective.hides(timesteps, HIDDEN)
                target = redirected_target(self.objective, clean, anchor_images, noise, timesteps, self.forgetting.redirect)
                batch = replace(batch, redirected=~swapped & ~(hidden & named), redirect_target=target)
        return batch.map(lambda tensor: tensor[self.rows].to(self.device))

    def _conditioning(self, rows: Tensor) -> Conditioning:
        pooled, time_ids = self.latents.pooled, self.latents.time_ids
        return Conditioning(
            self.latents.text[rows],
            None if pooled is None else pooled[rows],
            None if time_ids is None else time_ids.expand(len(rows), -1),
        )

    def _unnamed(self, text_rows: Tensor, key: Key) -> tuple[Tensor, Tensor]:
        """Rows of the text with a share of them replaced, half by the empty prompt, half by retain prompts; and which were not."""
        share, others = self.forgetting.unnamed, self.latents.retain.text
        if not share:
            return text_rows, torch.ones(len(text_rows), dtype=torch.bool)
        random = generator(*key, "unnamed")
        lot = torch.rand(len(text_rows), generator=random)
        other = others[torch.randint(len(others), (len(text_rows),), generator=random)]
        text_rows = torch.where(lot < share, other, text_rows).masked_fill(lot < share / 2, 0)
        return text_rows, lot >= share


def redirected_target(objective: Objective, clean: Tensor, anchor: Tensor, noise: Tensor, timesteps: Tensor, reach: float) -> Tensor:
    """The target for noised `clean` that denoises towards `anchor`; the shift is limited to `reach` times the noise level.

    With x_t = a x + s e, the network is to predict the image x' = x + min(1, reach s / a) (anchor - x), and with it the noise
    e' = (x_t - a x') / s, or the velocity of both. All images are latents (n, c, h, w).
    """
    signal, spread = (per_image(scale) for scale in objective.scales(timesteps))
    shifted = clean + (reach * spread / signal).clamp_max(1.0) * (anchor - clean)
    shifted_noise = noise + signal * (clean - shifted) / spread
    return objective.target(shifted, shifted_noise, timesteps)


def per_image(values: Tensor) -> Tensor:
    """One value per image (n,), shaped to broadcast over latents."""
    return values.reshape(-1, 1, 1, 1)


def numbered(count: int, batch: int, key: Key, draw: Callable[[Tensor, Key], T], first_only: bool = False) -> Callable[[int], T]:
    """Batches by number out of `count` images: epochs follow each other, each in its own seeded order, every image once per epoch.

    With `first_only` every batch has the images of the first, under its own noise.
    """

    def rows(first: int) -> Tensor:
        epochs = range(first // count, (first + batch - 1) // count + 1)
        order = {epoch: torch.randperm(count, generator=generator(*key, "order", epoch)) for epoch in epochs}
        return torch.stack([order[place // count][place % count] for place in range(first, first + batch)])

    return lambda i: draw(rows(0 if first_only else i * batch), (*key, i))
