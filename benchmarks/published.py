"""The published way of doing a repair step, written anew from what it does.

At every step it reads pictures, encodes them (those to forget twice: once with their captions, once with the anchor's) and embeds
captions, in float32. It does three forward passes, the anchor's with a graph that is then let go. Gradients by all weights are laid
end to end, copied to the host, widened to float64, joined there by a quadratic program and copied back. Adam goes the way that
PyTorch chooses by itself, and at the end what is free is collected. Left out: its sleep of 0.1 s a step.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fresh import fresh_batches
from models import anchored, pictures
from torch import Tensor
from torch.nn import functional as F

from erase.diffusion import DiffusionBatch, StableDiffusion, predict
from erase.diffusion.latents import LatentCache
from erase.scope import open_scope

LEARNING_RATE = 1e-5
FORGET_WEIGHT = 1.0
SEED = 0


class Pictures:
    """The pictures of a run, and what the anchors of those to forget are."""

    def __init__(self, folder: Path, forget: int, retain: int, side: int) -> None:
        self.forget = pictures(folder / "forget", forget, side, 1, shape="star")
        self.retain = pictures(folder / "retain", retain, side, 2)
        self.anchors = anchored(self.forget)

    def cache(self, path: Path, model: StableDiffusion) -> None:
        """Embed and encode all of them."""
        cache = LatentCache(model)
        cache.add_set("forget", self.forget)
        cache.add_set("retain", self.retain)
        cache.add_anchors(self.anchors)
        cache.write(path)


def joined_on_host(retain: Tensor, unlearn: Tensor) -> Tensor:
    """g_r + λ g_u, bent by the dual quadratic program: minimise ½ v² |g_u|² + v <g_u, g> over v >= 0; both gradients are flat."""
    try:
        import quadprog
    except ImportError:
        raise SystemExit('the published way needs quadprog: pip install "quadprog>=0.1.13"') from None
    memory = unlearn.cpu().double().numpy()[None]
    proposed = retain.cpu().double().numpy() + FORGET_WEIGHT * memory[0]
    multiplier = quadprog.solve_qp(memory @ memory.T, -(memory @ proposed), np.eye(1), np.zeros(1))[0]
    return torch.from_numpy(multiplier @ memory + proposed).float()


def make_published(
    model: StableDiffusion, unet: Any, given: Pictures, batch: int, lean: bool, mark: Callable[[str], None] = lambda part: None
) -> Callable[[], None]:
    """One step of the published way; every call goes on with the next batches. `mark` is told the name of a part at its end."""
    if not lean:
        unet.enable_gradient_checkpointing()
    scheduler = model.noise_scheduler()
    forget = fresh_batches(model, scheduler, given.forget, (SEED, "forget"), batch)
    instead = fresh_batches(model, scheduler, given.forget, (SEED, "forget"), batch, [texts[0] for texts in given.anchors])
    retain = fresh_batches(model, scheduler, given.retain, (SEED, "retain"), batch)
    weights = list(open_scope(unet, "full").values())
    update = torch.optim.Adam(weights, lr=LEARNING_RATE)
    count = iter(range(1 << 62))

    def seen(b: DiffusionBatch) -> Tensor:
        return predict(unet, b.noisy, b.timesteps, b.prompt, torch.float32)

    def gradient(value: Tensor) -> Tensor:
        update.zero_grad()
        value.backward()
        return torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])

    def step() -> None:
        i = next(count)
        kept, lost, given_instead = retain(i), forget(i), instead(i)
        mark("encoding and embedding")
        g_r = gradient(F.mse_loss(seen(kept), kept.target))
        g_u = gradient(F.mse_loss(seen(lost), seen(given_instead).detach()))
        mark("three forward and two backward passes")
        g = joined_on_host(g_r, g_u).to(model.device)
        mark("joining gradients on the host")
        for weight, part in zip(weights, g.split([weight.numel() for weight in weights]), strict=True):
            weight.grad = part.view_as(weight).clone()
        update.step()
        mark("update")
        if not lean:
            gc.collect()
        if model.device.startswith("cuda"):
            torch.cuda.empty_cache()
        mark("collecting what is free")

    return step
