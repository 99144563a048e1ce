"""What the UNet and the text encoder of `scenes` are trained with: which thing, in which colour, where, and how many.

The demo's loss (v-prediction, min-SNR weights) teaches what one thing looks like. In its weights high noise counts for nearly
nothing, and there it is decided how many things there are and where. So here it counts. Pairs that are named in full take a
third of each batch, and a `Reader` of the text encoder's states is trained along, that these say what stands where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erase.demo import networks
from erase.demo.scenes import world as scenes
from erase.demo.scenes.text_probe import QUESTIONS, UNSAID, Reader, answers, reading_loss

BATCH, PAIRS = 64, 24
FLOOR = 0.35  # least weight of a step that is mostly noise
READING = 0.2  # weight of the reader's loss


class Composer(nn.Module):
    """UNet, text encoder and reader as one module, because they are trained together."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.reader = unet, text_encoder, Reader(networks.WIDTH)


def step_weights(signal: Tensor) -> Tensor:
    """Of each timestep's loss, from the share of signal left there: min-SNR (gamma 5), but high noise counts."""
    ratio = signal / (1 - signal)
    weight = torch.minimum(ratio, torch.tensor(5.0)) / (ratio + 1)
    return 2.5 * torch.where(signal < 0.5, weight.clamp(min=FLOOR), weight)


def captioned(batch: Sequence[scenes.Scene], plain: int, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Captions, the first `plain` of them in full, one in ten empty; and what they say, (n, questions, 3)."""
    texts, labels = [], torch.full((len(batch), len(QUESTIONS), 3), UNSAID)
    for i, scene in enumerate(batch):
        text, meant = (scenes.plainly if i < plain else scenes.speak)(scene, rng)
        empty = rng.random() < 0.1
        texts.append("" if empty else text)
        if not empty:
            labels[i] = answers(*meant)
    return texts, labels


def composing(
    model: Composer, drawn_scenes: Sequence[scenes.Scene], mean: Tensor, std: Tensor, tokenizer: Any, device: str
) -> Callable[[int, torch.Generator], Tensor]:
    """The loss of a step, for `train.fit`; `mean` and `std` are the latents of the images of `drawn_scenes`."""
    scheduler = networks.build_forward()
    weight = step_weights(scheduler.alphas_cumprod)
    pairs = torch.tensor([i for i, scene in enumerate(drawn_scenes) if not scene.alike])

    def loss(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(drawn_scenes), (BATCH,), generator=generator)
        rows[:PAIRS] = pairs[torch.randint(len(pairs), (PAIRS,), generator=generator)]
        t = torch.randint(1000, (BATCH,), generator=generator)
        t[:PAIRS] = torch.randint(150, 1000, (PAIRS,), generator=generator)
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        captions, labels = captioned([drawn_scenes[i] for i in rows.tolist()], PAIRS, rng)
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        latents = mean[rows] + std[rows] * torch.randn(mean[rows].shape, generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy, target = (part(latents, noise, t).to(device) for part in (scheduler.add_noise, scheduler.get_velocity))
        states = model.text_encoder(tokens.to(device))[0]
        error = (model.unet(noisy, t.to(device), states).sample - target).pow(2).mean((1, 2, 3))
        drawn: Tensor = (error * weight[t].to(device)).mean()
        read = reading_loss(model.reader(states), labels.to(device))
        if (step + 1) % 50 == 0:
            print(f"drawing {drawn.item():.4f}  reading {read.item():.4f}", flush=True)
        return drawn + READING * read

    return loss
