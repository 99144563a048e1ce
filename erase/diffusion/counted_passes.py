"""Memory of passes through a pipeline's networks, counted on tensors without content, from the networks' configurations alone.

What has been counted is remembered in this process: runs of the same model, as those of a comparison, ask the same again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from erase.checkpoints.folder import config_of
from erase.diffusion.shape_tensors import ShapesOnly
from erase.scope import in_scope
from erase.torchvision_compat import check_torchvision

FLOAT = 4
"""Bytes per weight: weights are trained in float32, and so are their gradients."""


@dataclass(frozen=True)
class Networks:
    """The configurations of UNet and decoder as JSON, the tokens of a prompt and the side of the latents."""

    unet: str
    vae: str
    tokens: int
    side: int

    @classmethod
    def of(cls, folder: Path, side: int) -> Networks:
        """Those of a pipeline folder."""
        unet, vae, text = (config_of(folder, part, "config.json") for part in ("unet", "vae", "text_encoder"))
        return cls(json.dumps(unet), json.dumps(vae), text["max_position_embeddings"], side)


@lru_cache(maxsize=256)
def repair_bytes(networks: Networks, scope: str, images: int, dtype: torch.dtype, checkpointing: bool) -> tuple[int, int, int]:
    """In float32: all weights of the UNet, those in scope, and what a forward and backward pass takes beside them (0 images: no pass)."""
    with ShapesOnly() as shapes:
        unet = _network(networks.unet)
        unet.requires_grad_(False)
        weights = list(in_scope(unet, scope).values())
        for weight in weights:
            weight.requires_grad_(True)
        if checkpointing:
            unet.enable_gradient_checkpointing()
        everything, scoped = (FLOAT * sum(w.numel() for w in group) for group in (unet.parameters(), weights))
        if not images:
            return everything, scoped, 0
        inputs = _inputs(networks, unet, images)

        def step() -> None:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                predicted = unet(**inputs, return_dict=False)[0]
            F.mse_loss(predicted.float(), inputs["sample"]).backward()  # type: ignore[no-untyped-call]

        return everything, scoped, shapes.peak([unet], step)


@lru_cache(maxsize=256)
def drawing_bytes(networks: Networks, images: int) -> tuple[int, int, int]:
    """In float32: the larger of a denoising step with guidance and of decoding, the weights of the UNet, and those of the decoder."""
    with ShapesOnly() as shapes, torch.no_grad():
        unet, vae = _network(networks.unet), _network(networks.vae)
        inputs = _inputs(networks, unet, 2 * images)
        denoising = shapes.peak([unet], lambda: unet(**inputs, return_dict=False))
        decoding = shapes.peak([vae], lambda: vae.decode(inputs["sample"][:images], return_dict=False))
        own, decoder = (FLOAT * sum(weight.numel() for weight in network.parameters()) for network in (unet, vae))
    return max(denoising, decoding), own, decoder


def _network(configuration: str) -> Any:
    """A part of the pipeline from its configuration, in evaluation mode."""
    check_torchvision()
    import diffusers

    config = json.loads(configuration)
    return getattr(diffusers, config["_class_name"]).from_config(config).eval()


def _inputs(networks: Networks, unet: Any, count: int) -> dict[str, Any]:
    """The UNet's inputs for `count` images."""
    config, side = unet.config, networks.side
    inputs: dict[str, Any] = {
        "sample": torch.randn(count, config.in_channels, side, side),
        "timestep": torch.randint(1000, (count,)),
        "encoder_hidden_states": torch.randn(count, networks.tokens, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": torch.randn(count, width), "time_ids": torch.randn(count, 6)}
    return inputs
