"""How the embedded models are trained: how much of everything, and a loop that starts again where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from erase.demo.training.optimizers import Optimizers


@dataclass(frozen=True)
class Plan:
    """How much of everything. The defaults made the weights that are shipped."""

    pictures: int = 24_000
    autoencoder_steps: int = 3_000
    judge_steps: int = 800
    unet_steps: int = 5_000
    dots_steps: int = 900
    seed: int = 0
    without: str | None = None
    device: str = "cpu"
    world: str = "demo"
    depth: int = 1  # of the UNet's transformers at the finer resolution
    layers: int = 3  # of the text encoder
    rate: float = 1e-3


PLANS = {
    "demo": Plan(),
    "scenes": Plan(world="scenes", pictures=30_000, judge_steps=800, unet_steps=7_500, dots_steps=0, depth=2, layers=4, rate=8e-4),
}


def to_model(pictures: Tensor, device: str = "cpu") -> Tensor:
    """uint8 pictures to floats in [-1, 1]."""
    return pictures.to(device).float() / 127.5 - 1


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
    part.replace(path)


@dataclass(frozen=True)
class Course:
    """One training: its name, steps and peak learning rate; `decay` of the moving average, and steps between checkpoints (`every`).

    `muon`: matrices are trained by Muon, not by AdamW.
    """

    name: str
    steps: int
    rate: float
    decay: float = 0.999
    every: int = 250
    muon: bool = False


def fit(
    course: Course,
    network: nn.Module,
    loss: Callable[[int, torch.Generator], Tensor],
    folder: Path,
    seed: int,
    device: str,
) -> None:
    """AdamW (or Muon) with warm-up and cosine decay; leaves the exponential moving average of the weights in `network`.

    `loss` draws its batch from its generator, which depends on (seed, name, step) alone, so that a stopped training resumes exactly.
    """
    name, steps = course.name, course.steps
    path = folder / "checkpoints" / f"{name}.safetensors"
    weights = dict(network.named_parameters())
    average = {key: value.detach().clone() for key, value in weights.items()}
    optimizer = Optimizers(weights, course.rate, course.muon)
    start = 0
    if path.exists():
        with safe_open(path, "pt", device) as file:
            start = int(file.metadata()["step"])
            for key, weight in weights.items():
                weight.data.copy_(file.get_tensor(f"weight/{key}"))
                average[key].copy_(file.get_tensor(f"average/{key}"))
            optimizer.load(file, start)
    clock, recent = time.perf_counter(), 0.0
    for step in range(start, steps):
        warm = min(1.0, (step + 1) / 100)
        rate = course.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        generator = torch.Generator().manual_seed(hash_seed(seed, name, step))
        network.zero_grad(set_to_none=True)
        value = loss(step, generator)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step(rate)
        blend = min(course.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.values()), [w.detach() for w in weights.values()], 1 - blend)
        recent = value.item() if not recent else 0.98 * recent + 0.02 * value.item()
        if (step + 1) % 50 == 0:
            rate_now = (step + 1 - start) / (time.perf_counter() - clock)
            print(f"{name} {step + 1}/{steps}  loss {recent:.4f}  {rate_now:.2f} steps/s", flush=True)
        if (step + 1) % course.every == 0 or step + 1 == steps:
            state = {f"weight/{key}": weight.detach() for key, weight in weights.items()}
            state |= {f"average/{key}": mean for key, mean in average.items()} | optimizer.state()
            save(state, path, {"step": str(step + 1)})
    for key, weight in weights.items():
        weight.data.copy_(average[key])


def hash_seed(*parts: object) -> int:
    """A 63-bit seed from anything printable; the same on every machine."""
    import hashlib

    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


@torch.no_grad()
def disturbed(drawn: Tensor, vae: Any, generator: torch.Generator, device: str) -> tuple[Tensor, Tensor]:
    """A batch for a judge: rows of 64 pictures, and these, a quarter as the autoencoder gives them back and all with a little noise."""
    rows = torch.randint(len(drawn), (64,), generator=generator)
    x = to_model(drawn[rows], device)
    posterior = vae.encode(x[:16]).latent_dist
    jitter = torch.randn(posterior.mean.shape, generator=generator).to(device)
    x[:16] = vae.decode(posterior.mean + posterior.std * jitter).sample
    return rows, x + 0.08 * torch.randn(x.shape, generator=generator).to(device)
