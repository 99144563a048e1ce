"""The networks of the emoji model: larger than the shapes', because 2,400 drawings have more to them than eight shapes.

The classes are those of a real checkpoint, as in `erase.demo.networks`. Sizes keep all weights together under 30 MiB in float16.
"""

from __future__ import annotations

from typing import Any

from erase.demo import networks as small

SIZE = 64
PATCH = 4  # pixels a latent, each way
LATENT_CHANNELS = 6
WIDTH = 128  # of the text encoder


def build_autoencoder() -> Any:
    """AutoencoderKL, (n, 3, 64, 64) to (n, 6, 16, 16).

    Reduction by 4 keeps letters and faces: by 8, with as many numbers a picture, all stays blurred for three times as many steps.
    """
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )
    small.initialise_autoencoder(vae)
    return vae


def build_text_encoder(tokenizer: Any) -> Any:
    """CLIPTextModel: four layers of width 128."""
    return small.build_text_encoder(tokenizer, layers=4, width=WIDTH)


def build_unet() -> Any:
    """UNet2DConditionModel on (n, 6, 16, 16): plain blocks at 16 x 16, cross-attention at 8 x 8 and 4 x 4."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // PATCH,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 160),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
