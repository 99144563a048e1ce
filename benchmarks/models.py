"""What is measured: the embedded model, or networks of Stable Diffusion 1.x's size with random weights; and pictures for them.

Random weights take the same time as trained ones, and need no download.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from erase.checkpoints.lora.low_rank import add_factors
from erase.demo import networks, pipeline_path
from erase.demo.shapes import world
from erase.diffusion import DiffusionBatch, StableDiffusion
from erase.diffusion.prediction import reads
from erase.diffusion.task import training_loss
from erase.files import sha256
from erase.images import Picture
from erase.scope import open_scope
from erase.task import Task, generator

SIZES = ("demo", "sd1", "flux")

UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # diffusers means the number of heads
    "norm_num_groups": 32,
}
"""859.5 million weights: the UNet of Stable Diffusion 1.x (Rombach et al., CVPR 2022)."""

FLUX: dict[str, Any] = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}
"""11.9 billion weights: the transformer of FLUX.1-dev."""

FLUX_SIDE = 64  # of the latents: 512 pixels

VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}

TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
}
"""The text encoder of CLIP ViT-L/14."""

SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Random(StableDiffusion):
    """Stable Diffusion 1.x with random weights, made on the device. State: the whole pipeline; there is no folder."""

    def __init__(self, device: str, dtype: str, side: int) -> None:
        super().__init__(Path("random"), device, dtype, 8 * side)
        self._pipeline = build_pipeline(device, side).to(dtype=self.dtype)

    def network(self) -> nn.Module:
        return copy.deepcopy(self.pipeline.unet).float().to(self.device)

    def noise_scheduler(self) -> Any:
        from diffusers import DDPMScheduler

        return DDPMScheduler(**SCHEDULE)


def build_pipeline(device: str, side: int = 64) -> Any:
    """All parts at their true size, for latents of `side`; tokens are those of the embedded model, as many as CLIP reads."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    with torch.device(device):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(**UNET | {"sample_size": side}),
            "vae": AutoencoderKL(**VAE | {"sample_size": 8 * side}),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT)),
        }
    for part in parts.values():
        part.requires_grad_(False).eval()
    tokenizer = CLIPTokenizer.from_pretrained(pipeline_path() / "tokenizer", model_max_length=TEXT["max_position_embeddings"])
    made = StableDiffusionPipeline(
        **parts, tokenizer=tokenizer, scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def open_size(size: str, device: str = "cpu", dtype: str = "float32", side: int | None = None) -> StableDiffusion:
    """The model of a size in SIZES; `side` of the latents is for random weights only."""
    return StableDiffusion(pipeline_path(), device, dtype) if size == "demo" else Random(device, dtype, side or UNET["sample_size"])


def build_unet(size: str, channels: tuple[int, ...] | None = None, side: int | None = None) -> Any:
    """The edited network of a size alone, with random weights, on the default device and in the default dtype.

    `channels` of a UNet's levels and `side` of its latents.
    """
    from diffusers import FluxTransformer2DModel, UNet2DConditionModel

    if size == "flux":
        return FluxTransformer2DModel(**FLUX).eval()
    if size == "demo" and not channels and not side:
        return networks.build_unet().eval()
    config = dict(UNET) if size == "sd1" else {**networks.build_unet().config}
    changed = {"sample_size": side or config["sample_size"], "block_out_channels": channels or config["block_out_channels"]}
    return UNet2DConditionModel.from_config(config | changed).eval()


def side_of(network: Any) -> int:
    """The side of the latents that a network is measured on."""
    return int(network.config.get("sample_size") or FLUX_SIDE)


def random_batch(network: Any, name: str, batch: int, tokens: int, side: int | None = None) -> DiffusionBatch:
    """Random latents, text and times, of the shapes that the network expects, on its device."""
    random, width, device = generator("benchmark", name), side or side_of(network), network.device
    sizes = reads(type(network).__name__, network.config, tokens)
    noisy, target = (torch.randn(batch, sizes.channels, width, width, generator=random) for _ in range(2))
    timesteps = torch.randint(1000, (batch,), generator=random)
    conditioning = sizes.conditioning(partial(torch.randn, generator=random), batch)
    return DiffusionBatch(noisy, timesteps, target, conditioning).to(device)


def trained(network: Any, scope: str, rank: int | None = None) -> dict[str, nn.Parameter]:
    """The weights in scope, or their low-rank factors, and nothing else requires a gradient."""
    weights = open_scope(network, scope)
    return weights if rank is None else add_factors(network, weights, rank)


def random_task(
    unet: Any,
    scope: str,
    batch: int,
    tokens: int,
    dtype: torch.dtype = torch.float32,
    side: int | None = None,
    rank: int | None = None,
) -> Task[DiffusionBatch]:
    """Towards one random target on one batch, towards another on the other; both fixed, for their making is not what is timed."""
    batches = {name: random_batch(unet, name, batch, tokens, side) for name in ("forget", "retain")}

    loss = training_loss(dtype)
    return Task(unet, lambda i: batches["forget"], lambda i: batches["retain"], loss, loss, trained(unet, scope, rank))


def pictures(folder: Path, count: int, side: int, seed: int, shape: str | None = None) -> list[Picture]:
    """Pictures of the embedded world as PNG files with their captions, `side` pixels wide; all of one shape, or none of star."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = world.scenes(count, seed, shape=shape) if shape else world.scenes(count, seed, without="star")
    made = []
    for i, scene in enumerate(scenes):
        path = folder / f"{i:05d}.png"
        Image.fromarray(world.render(scene)).resize((side, side), Image.Resampling.LANCZOS).save(path)
        named = dict.fromkeys(world.DOMAINS, world.NAMED)
        made.append(Picture(path, world.phrase(scene, named, order=i % world.ORDERS), i, sha256(path)))
    return made


def anchored(given: list[Picture]) -> list[list[str]]:
    """For each picture of a star the caption of another shape."""
    return [[picture.prompt.replace("star", "ring")] for picture in given]
