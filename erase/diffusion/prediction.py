"""What a denoising network predicts, and what it should predict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from erase.diffusion.batches import Conditioning
from erase.errors import InputError


def predict(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, dtype: torch.dtype) -> Tensor:
    """The network's prediction for noisy latents (n, c, h, w) under a prompt; computed in `dtype` where that is less than float32."""
    options: dict[str, Any] = {}
    if conditioning.time_ids is not None:
        options["added_cond_kwargs"] = {"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids}
    with torch.autocast(noisy.device.type, dtype, enabled=dtype != torch.float32):
        predicted: Tensor = network(noisy, timesteps, encoder_hidden_states=conditioning.text, return_dict=False, **options)[0]
        return predicted


def denoising_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The prediction target of training: the noise, or the velocity (Salimans and Ho 2022)."""
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"the scheduler predicts {kind!r}; supported are epsilon and v_prediction")
    target: Tensor = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, timesteps)
    return target
