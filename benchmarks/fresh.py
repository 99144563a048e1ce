"""Batches whose pictures are encoded and captions embedded when they are asked for, as the published code has it at every step.

The same pictures, noise and timesteps as `erase.diffusion.diffusion_task` draws from a cache, by number: two contestants then
follow the same path. On a card noise is drawn there instead, lest the published way pay for our repeatability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from erase.diffusion import Conditioning, DiffusionBatch, StableDiffusion, denoising_target
from erase.diffusion.drawing import numbered
from erase.images import Picture, load_pixels
from erase.task import Batches, generator


def fresh_batches(
    model: StableDiffusion,
    scheduler: Any,
    pictures: Sequence[Picture],
    key: tuple[object, ...],
    batch: int,
    captions: Sequence[str] | None = None,
    anchors: Sequence[str] | None = None,
) -> Batches[DiffusionBatch]:
    """Batches by number; with `anchors` also the unlearning input and the anchors' prompts.

    `captions` take the place of the pictures' own.
    """
    said = list(captions or [picture.prompt for picture in pictures])
    device = torch.device(model.device)

    def draw(rows: Tensor, key: tuple[object, ...]) -> DiffusionBatch:
        chosen: list[int] = rows.tolist()
        model.place("vae", "text_encoder")  # at every step: the published way has both on the device all the time
        clean = _encode(model, load_pixels([pictures[row].path for row in chosen], model.size), chosen)
        source = _on(device, generator(*key, "noise"))
        noise = torch.randn(clean.shape, generator=source, device=device)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (len(chosen),), generator=source, device=device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        return DiffusionBatch(
            noisy=noisy,
            timesteps=timesteps,
            target=denoising_target(scheduler, clean, noise, timesteps),
            prompt=Conditioning(_embed(model, [said[row] for row in chosen])),
            anchor=None if anchors is None else Conditioning(_embed(model, [anchors[row] for row in chosen])),
            unlearn_input=None if anchors is None else noisy,
        )

    return numbered(len(pictures), batch, key, draw)


def _on(device: torch.device, source: torch.Generator) -> torch.Generator:
    """The generator itself on the host, one of the same seed on a card."""
    return source if device.type == "cpu" else torch.Generator(device).manual_seed(source.initial_seed())


@torch.no_grad()
def _encode(model: StableDiffusion, pixels: Tensor, rows: Sequence[int]) -> Tensor:
    """Scaled latents on the device, float32; on the host with the noise that the cache has for these pictures."""
    vae, device = model.pipeline.vae, torch.device(model.device)
    posterior = vae.encode(pixels.to(device, vae.dtype)).latent_dist
    if device.type == "cpu":
        noise = torch.stack([torch.randn(posterior.mean.shape[1:], generator=generator("latent", row)) for row in rows])
        drawn = posterior.mean + posterior.std * noise
    else:
        drawn = posterior.sample(_on(device, generator("latent", *rows)))
    latents: Tensor = drawn.float() * vae.config.scaling_factor
    return latents


@torch.no_grad()
def _embed(model: StableDiffusion, captions: list[str]) -> Tensor:
    """Text embeddings on the device, float32: `model.embed` would hand them over on the host."""
    tokenizer = model.pipeline.tokenizer
    tokens = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
    text: Tensor = model.pipeline.text_encoder(tokens.input_ids.to(model.device))[0].float()
    return text
