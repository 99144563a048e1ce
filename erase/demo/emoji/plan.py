"""How much of everything the training of the emoji model does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Steps of each stage. `variants`: how many random pictures of each pair are encoded for the UNet."""

    autoencoder_steps: int = 1_000
    decoder_steps: int = 2_000
    variants: int = 12
    reader_steps: int = 1_500
    unet_steps: int = 10_000
    judge_steps: int = 6_000
    clip_steps: int = 2_500
    rate: float = 1e-3  # learning rate of UNet and text encoder
    seed: int = 0
    without: str | None = None
    device: str = "cpu"
