"""A complete Stable Diffusion pipeline folder with random weights, small enough to sample in a tenth of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from erase.demo import networks

SIZE = 64
CHANNELS = 4
WIDTH = 16


def build(folder: Path, seed: int = 0) -> Path:
    """Write the folder; the same seed gives the same weights."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = networks.build_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=networks.TOKENS,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 16),
            layers_per_block=1,
            latent_channels=CHANNELS,
            norm_num_groups=4,
            sample_size=SIZE,
            mid_block_add_attention=False,
        )
        unet = UNet2DConditionModel(
            sample_size=SIZE // 8,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            block_out_channels=(16, 32),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )
    parts: dict[str, Any] = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet}
    StableDiffusionPipeline(
        **parts, scheduler=networks.build_sampler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder
