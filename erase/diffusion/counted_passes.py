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
from torch import Tensor

from erase.checkpoints.folder import config_of, edited_part
from erase.diffusion.batches import Conditioning
from erase.diffusion.prediction import predict, reads
from erase.diffusion.shape_tensors import ShapesOnly
from erase.scope import in_scope
from erase.torchvision_compat import check_torchvision

FLOAT = 4
"""Bytes per weight: weights are trained in float32, and so are their gradients."""


@dataclass(frozen=True)
class Networks:
    """The configurations of edited network and decoder as JSON, the tokens of a prompt and the side of the latents."""

    edited: str
    vae: str
    tokens: int
    side: int

    @classmethod
    def of(cls, folder: Path, side: int) -> Networks:
        """Those of a pipeline folder."""
        parts = (edited_part(folder).name, "vae", "text_encoder")
        edited, vae, text = (config_of(folder, part, "config.json") for part in parts)
        return cls(json.dumps(edited), json.dumps(vae), text["max_position_embeddings"], side)


@lru_cache(maxsize=256)
def repair_bytes(networks: Networks, scope: str, images: int, dtype: torch.dtype, checkpointing: bool) -> tuple[int, int, int]:
    """In float32: all weights of the network, those in scope, and what a forward and backward pass takes beside them (0 images: none)."""
    with ShapesOnly() as shapes:
        network = _network(networks.edited)
        network.requires_grad_(False)
        weights = list(in_scope(network, scope).values())
        for weight in weights:
            weight.requires_grad_(True)
        if checkpointing:
            network.enable_gradient_checkpointing()
        everything, scoped = (FLOAT * sum(w.numel() for w in group) for group in (network.parameters(), weights))
        if not images:
            return everything, scoped, 0
        noisy, timesteps, conditioning = _inputs(networks, network, images)

        def step() -> None:
            predicted = predict(network, noisy, timesteps, conditioning, dtype)
            F.mse_loss(predicted.float(), noisy).backward()  # type: ignore[no-untyped-call]

        return everything, scoped, shapes.peak([network], step)


@lru_cache(maxsize=256)
def drawing_bytes(networks: Networks, images: int) -> tuple[int, int, int]:
    """In float32: the larger of a denoising step with guidance and of decoding, the weights of the network, and those of the decoder."""
    with ShapesOnly() as shapes, torch.no_grad():
        network, vae = _network(networks.edited), _network(networks.vae)
        noisy, timesteps, conditioning = _inputs(networks, network, 2 * images)
        denoising = shapes.peak([network], lambda: predict(network, noisy, timesteps, conditioning, torch.float32))
        decoding = shapes.peak([vae], lambda: vae.decode(noisy[:images], return_dict=False))
        own, decoder = (FLOAT * sum(weight.numel() for weight in part.parameters()) for part in (network, vae))
    return max(denoising, decoding), own, decoder


def _network(configuration: str) -> Any:
    """A part of the pipeline from its configuration, in evaluation mode."""
    check_torchvision()
    import diffusers

    config = json.loads(configuration)
    return getattr(diffusers, config["_class_name"]).from_config(config).eval()


def _inputs(networks: Networks, network: Any, count: int) -> tuple[Tensor, Tensor, Conditioning]:
    """Noisy latents, timesteps and conditioning for `count` images."""
    sizes = reads(type(network).__name__, network.config, networks.tokens)
    noisy = torch.randn(count, sizes.channels, networks.side, networks.side)
    return noisy, torch.randint(1000, (count,)), sizes.conditioning(torch.randn, count)
