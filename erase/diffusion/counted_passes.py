"""Memory of passes through a pipeline's networks, counted on tensors without content, from the networks' configurations alone.

What has been counted is remembered in this process: runs of the same model, as those of a comparison, ask the same again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.checkpoints.folder import config_of, edited_part
from erase.checkpoints.lora.low_rank import add_factors
from erase.diffusion.batches import Conditioning
from erase.diffusion.prediction import predict, reads
from erase.diffusion.shape_tensors import ShapesOnly
from erase.scope import in_scope, trimmable, weight_of
from erase.torchvision_compat import check_torchvision

FLOAT = 4
"""Bytes per trained weight: weights are trained in float32, and so are their gradients."""


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


@dataclass(frozen=True)
class Edit:
    """Which weights are trained: those of a scope, or low-rank factors of these; and the dtype of those that are not."""

    scope: str
    rank: int | None = None
    frozen: torch.dtype = torch.float32


@dataclass(frozen=True)
class Counts:
    """Bytes: all weights of the network as they are held, those that are trained, and what a pass takes beside them, with gradients.

    `base` are the weights that the trained factors belong to, 0 without factors; `block` is the largest block of layers.
    """

    everything: int
    trained: int
    passing: int
    base: int = 0
    block: int = 0

    def held(self, processes: int, base: bool) -> int:
        """Bytes of weights on each of several devices that share them: what is trained (and the `base`) whole, and two blocks gathered."""
        whole = self.trained + self.base * base
        return self.everything if processes == 1 else whole + (self.everything - whole) // processes + 2 * self.block


@lru_cache(maxsize=256)
def repair_bytes(networks: Networks, edit: Edit, images: int, dtype: torch.dtype, checkpointing: bool) -> Counts:
    """What a forward and backward pass takes (0 images: none), with gradients of the trained weights in float32."""
    with ShapesOnly() as shapes:
        network, weights, base = _edited(networks.edited, edit)
        if checkpointing:
            network.enable_gradient_checkpointing()
        everything, trained, base_bytes = (_bytes(group) for group in (network.parameters(), weights.values(), base))
        passing = shapes.peak([network], _step(networks, network, images, dtype)) if images else 0
        everything += edit.frozen.itemsize * sum(table.numel() for table in network.buffers())
        blocks = [module for module in network.modules() if type(module).__name__ in (network._no_split_modules or ())]
        return Counts(everything, trained, passing, base_bytes, max((_bytes(block.parameters()) for block in blocks), default=0))


@lru_cache(maxsize=256)
def scoring_bytes(networks: Networks, edit: Edit, scored: str, images: int, dtype: torch.dtype, checkpointing: bool) -> tuple[int, int]:
    """Number of the weights that are scored, and bytes of a pass in which each gradient is freed once it has been added to its score."""
    with ShapesOnly() as shapes:
        network, _, base = _edited(networks.edited, edit)
        owned = {id(weight) for weight in base}
        weights = [weight for weight in trimmable(in_scope(network, scored)).values() if id(weight) in owned]
        network.requires_grad_(False)

        def free(weight: Tensor) -> None:
            weight.grad = None

        for weight in weights:
            weight.requires_grad_(True)
            weight.register_post_accumulate_grad_hook(free)
        if checkpointing:
            network.enable_gradient_checkpointing()
        return sum(w.numel() for w in weights), shapes.peak([network], _step(networks, network, images, dtype))


@lru_cache(maxsize=256)
def drawing_bytes(networks: Networks, images: int, passes: int = 2) -> tuple[int, int, int]:
    """In float32: the larger of a denoising step and of decoding, the weights of the network, and those of the decoder.

    A denoising step takes 2 `passes` at once with guidance, and one where the network needs none, or reads its scale.
    """
    with ShapesOnly() as shapes, torch.no_grad():
        network, vae = _network(networks.edited), _network(networks.vae)
        noisy, timesteps, conditioning = _inputs(networks, network, passes * images)
        denoising = shapes.peak([network], lambda: predict(network, noisy, timesteps, conditioning, torch.float32))
        decoding = shapes.peak([vae], lambda: vae.decode(noisy[:images], return_dict=False))
        own, decoder = (_bytes(part.parameters()) for part in (network, vae))
    return max(denoising, decoding), own, decoder


def _edited(configuration: str, edit: Edit) -> tuple[Any, dict[str, nn.Parameter], list[nn.Parameter]]:
    """The network, the weights that are trained, and those that these are factors of; nothing else has a gradient."""
    network = _network(configuration, edit.frozen)
    network.requires_grad_(False)
    weights = in_scope(network, edit.scope)
    if edit.rank is not None:
        factors = add_factors(network, weights, edit.rank)
        return network, factors, [weights[name] for name in dict.fromkeys(map(weight_of, factors))]
    if edit.frozen != torch.float32:
        _in_float32(network, weights)
        weights = in_scope(network, edit.scope)
    for weight in weights.values():
        weight.requires_grad_(True)
    return network, weights, []


def _in_float32(network: nn.Module, names: Iterable[str]) -> None:
    """Give these parameters, which have no content, another dtype."""
    for name in names:
        module, _, own = name.rpartition(".")
        owner = network.get_submodule(module)
        setattr(owner, own, nn.Parameter(torch.empty(getattr(owner, own).shape, dtype=torch.float32)))


def _step(networks: Networks, network: nn.Module, images: int, dtype: torch.dtype) -> Callable[[], None]:
    noisy, timesteps, conditioning = _inputs(networks, network, images)

    def step() -> None:
        predicted = predict(network, noisy, timesteps, conditioning, dtype)
        F.mse_loss(predicted.float(), noisy).backward()  # type: ignore[no-untyped-call]

    return step


def _bytes(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights)


def _network(configuration: str, dtype: torch.dtype = torch.float32) -> Any:
    """A part of the pipeline from its configuration, in evaluation mode."""
    check_torchvision()
    import diffusers

    config = json.loads(configuration)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return getattr(diffusers, config["_class_name"]).from_config(config).eval()
    finally:
        torch.set_default_dtype(usual)


def _inputs(networks: Networks, network: Any, count: int) -> tuple[Tensor, Tensor, Conditioning]:
    """Noisy latents, timesteps and conditioning for `count` images."""
    sizes = reads(type(network).__name__, network.config, networks.tokens)
    noisy = torch.randn(count, sizes.channels, networks.side, networks.side)
    return noisy, torch.randint(1000, (count,)), sizes.conditioning(torch.randn, count)
