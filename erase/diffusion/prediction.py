"""What a denoising network predicts, and what it should predict. Each kind of network is called in its own way.

A family whose network is called in another way than a UNet adds itself to `CALLS` (`stable_diffusion_3.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from erase.diffusion.batches import Conditioning
from erase.errors import InputError


@dataclass(frozen=True)
class Reads:
    """The sizes of what a network reads: channels of latents, tokens and width of text, width of pooled text, whether image sizes."""

    channels: int
    tokens: int
    width: int
    pooled: int | None = None
    sizes: bool = False

    def conditioning(self, make: Callable[..., Tensor], count: int) -> Conditioning:
        """A conditioning of `count` rows; `make` makes a tensor of a shape, such as torch.zeros."""
        pooled = None if self.pooled is None else make(count, self.pooled)
        return Conditioning(make(count, self.tokens, self.width), pooled, make(count, 6) if self.sizes else None)


@dataclass(frozen=True)
class NetworkCall:
    """How a kind of network is called, and what one with a configuration reads, where a prompt has so many tokens of CLIP."""

    forward: Callable[[nn.Module, Tensor, Tensor, Conditioning], Tensor]
    reads: Callable[[Mapping[str, Any], int], Reads]


def _unet_forward(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    options: dict[str, Any] = {}
    if conditioning.time_ids is not None:
        options["added_cond_kwargs"] = {"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids}
    predicted: Tensor = network(noisy, timesteps, encoder_hidden_states=conditioning.text, return_dict=False, **options)[0]
    return predicted


def _unet_reads(config: Mapping[str, Any], tokens: int) -> Reads:
    xl = config["addition_embed_type"] == "text_time"
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"] if xl else None
    return Reads(config["in_channels"], tokens, config["cross_attention_dim"], pooled, xl)


UNET = NetworkCall(_unet_forward, _unet_reads)
CALLS: dict[str, NetworkCall] = {}
"""Class of a network -> how it is called; all others are called like a UNet."""


def predict(network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, dtype: torch.dtype) -> Tensor:
    """The network's prediction for noisy latents (n, c, h, w) under a prompt; computed in `dtype` where that is less than float32."""
    call = next((CALLS[kind.__name__] for kind in type(network).__mro__ if kind.__name__ in CALLS), UNET)  # FSDP makes a class of its own
    with torch.autocast(noisy.device.type, dtype, enabled=dtype != torch.float32):
        return call.forward(network, noisy, timesteps, conditioning)


def reads(kind: str, config: Mapping[str, Any], tokens: int) -> Reads:
    """What a network of the class `kind` with a configuration reads; `tokens` of CLIP in a prompt."""
    return CALLS.get(kind, UNET).reads(config, tokens)


def denoising_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The prediction target of training: the noise, or the velocity (Salimans and Ho 2022)."""
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"the scheduler predicts {kind!r}; supported are epsilon and v_prediction")
    target: Tensor = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, timesteps)
    return target
