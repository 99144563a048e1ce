"""The loss of the emoji model's UNet and text encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erase.demo import networks as small
from erase.demo.emoji import captions
from erase.demo.emoji.world import Scene
from erase.demo.training.precision import half_precision

BATCH = 96
SILENCE = 0.1  # share of empty captions, for classifier-free guidance


class Denoiser(nn.Module):
    """UNet and text encoder as one module, because they are trained together."""

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.unet.to(memory_format=torch.channels_last)


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,), one from each of as many equal parts of the range, a quarter of them below 400 of 1,000."""
    place = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    low, share = 400, 0.25
    t = torch.where(place < share, place / share * low, low + (place - share) / (1 - share) * (1000 - low))
    return t.long().clamp(max=999)


def use_plain_attention(model: Denoiser) -> None:
    """Attention as two matrix products: on the CPU its gradient takes a third of the time of the fused one's."""
    from diffusers.models.attention_processor import AttnProcessor

    model.unet.set_attn_processor(AttnProcessor())
    model.text_encoder.set_attn_implementation("eager")


def denoising(
    model: Denoiser, latents: Tensor, scenes: list[Scene], tokenizer: Any, device: str
) -> Callable[[int, torch.Generator], Tensor]:
    """Squared error of the velocity (Salimans and Ho 2022), all noise levels alike.

    `latents`: (n, 6, 16, 16) of unit variance, of the `scenes`. Min-SNR weights (Hang et al. 2023) end near nothing where a picture
    is all noise. There alone the text decides what is drawn: with other captions the error grows by two thirds at t = 800 and by
    nothing below t = 400.
    """
    scheduler = small.build_forward()

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (BATCH,), generator=generator)
        t = noise_levels(BATCH, generator)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        texts = ["" if rng.random() < SILENCE else captions.caption(scenes[row], rng) for row in rows.tolist()]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = latents[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, t).to(device, memory_format=torch.channels_last)
        target = scheduler.get_velocity(clean, noise, t).to(device)
        with half_precision(device):
            states = model.text_encoder(tokens.to(device))[0]
            predicted = model.unet(noisy, t.to(device), states).sample
        value: Tensor = (predicted.float() - target).pow(2).mean()
        return value

    return loss
