"""Training of the emoji model's autoencoder, and the latents of the training pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from erase.demo.emoji import networks, pictures, world
from erase.demo.training.loop import hash_seed, save
from erase.demo.training.precision import half_precision

GUIDED = 300  # steps in which three latent channels are pulled towards the mean colour of their patch
BATCH = 16


def draw_batch(choices: list[tuple[str, str]], count: int, generator: torch.Generator, device: str) -> tuple[Tensor, list[world.Scene]]:
    """Random pictures (count, 3, 64, 64) of the pairs in `choices`, and their scenes."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    scenes = [world.sample_scene(rng, choices) for _ in range(count)]
    return pictures.draw(scenes, device).contiguous(memory_format=torch.channels_last), scenes


def picture_loss(decoded: Tensor, x: Tensor) -> Tensor:
    """Squared error with colour counted more than brightness, and L1 on pixels and on their differences, which makes edges crisp."""
    error = decoded.float() - x
    grey = error.mean(1, keepdim=True)
    squared = 2 * grey.pow(2).mean() + 8 * (error - grey).pow(2).mean()
    edges = torch.stack([torch.diff(error, dim=d).abs().mean() for d in (2, 3)]).sum()
    value: Tensor = squared + 0.5 * error.abs().mean() + 0.25 * edges
    return value


def reconstruction_loss(step: int, vae: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of the whole autoencoder: of the picture, and a little KL so that latents stay smooth."""
    with half_precision(x.device.type):
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    value: Tensor = picture_loss(decoded, x) + 1e-4 * kl
    if step < GUIDED:
        value = value + (1 - step / GUIDED) * (mean[:, :3] - 2 * F.avg_pool2d(x, networks.PATCH)).pow(2).mean()
    return value


def decoding_loss(vae: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of the decoder alone, on latents with a little noise: those that the UNet draws are not exact either."""
    with half_precision(x.device.type):
        with torch.no_grad():
            mean = vae.encode(x).latent_dist.mean.float()
        strength = 0.08 * torch.rand(len(x), 1, 1, 1, generator=generator) * mean.std().cpu()
        noise = strength * torch.randn(mean.shape, generator=generator)
        decoded = vae.decode(mean + noise.to(x.device)).sample
    return picture_loss(decoded, x)


@torch.no_grad()
def encode_variant(variant: int, choices: list[tuple[str, str]], vae: Any, seed: int, device: str) -> Tensor:
    """Latents (pairs, 6, 16, 16) of one random picture of every pair; `variant_scenes` has what each shows."""
    scenes = variant_scenes(variant, choices, seed)
    parts = []
    for start in range(0, len(scenes), 64):
        x = pictures.draw(scenes[start : start + 64], device).contiguous(memory_format=torch.channels_last)
        with half_precision(device):
            parts.append(vae.encode(x).latent_dist.mean.float().cpu())
    return torch.cat(parts).contiguous()


@torch.no_grad()
def plain_latents(choices: list[tuple[str, str]], vae: Any, device: str) -> Tensor:
    """Latents (pairs, 6, 16, 16) of each pair in the middle of a white picture."""
    parts = []
    for start in range(0, len(choices), 64):
        x = pictures.draw([world.Scene(*pair, "white") for pair in choices[start : start + 64]], device)
        with half_precision(device):
            parts.append(vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean.float().cpu())
    return torch.cat(parts).contiguous()


def variant_scenes(variant: int, choices: list[tuple[str, str]], seed: int) -> list[world.Scene]:
    """One random scene of each pair, in the order of `choices`."""
    rng = np.random.default_rng(hash_seed(seed, "variant", variant))
    return [world.sample_scene(rng, [pair]) for pair in choices]


def latents(
    variants: int, choices: list[tuple[str, str]], vae: Any, folder: Path, seed: int, device: str
) -> tuple[Tensor, list[world.Scene]]:
    """(variants * pairs, 6, 16, 16) float16 and their scenes; a variant that was encoded is read."""
    parts, scenes = [], []
    for variant in range(variants):
        path = folder / "latents" / f"{variant}.safetensors"
        if not path.exists():
            save({"latents": encode_variant(variant, choices, vae, seed, device).half()}, path)
        parts.append(load_file(path)["latents"])
        scenes += variant_scenes(variant, choices, seed)
    return torch.cat(parts), scenes
