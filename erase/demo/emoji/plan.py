"""How much of everything the training of the emoji model does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Steps of each stage. `variants`: how many random pictures of each pair are encoded for the UNet.

    `plain_steps`: how many of the UNet's steps, the first, show each pair only in the middle of a white picture; later every fifth does.
    """

    autoencoder_steps: int = 1_000
    decoder_steps: int = 2_000
    variants: int = 8
    reader_steps: int = 800
    unet_steps: int = 5_600
    plain_steps: int = 2_600
    judge_steps: int = 8_000
    clip_steps: int = 2_500
    rate: float = 1e-3  # learning rate of UNet and text encoder
    seed: int = 0
    without: str | None = None
    device: str = "cpu"
