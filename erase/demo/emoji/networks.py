"""The networks of the emoji model: larger than the shapes', because 2,400 drawings have more to them than eight shapes.

The classes are those of a real checkpoint, as in `erase.demo.networks`. Sizes keep all weights together under 30 MiB in float16.
"""

from __future__ import annotations

from typing import Any

from erase.demo.networks import initialise_autoencoder

SIZE = 64
LATENT_CHANNELS = 16


def build_autoencoder() -> Any:
    """AutoencoderKL, (n, 3, 64, 64) to (n, 16, 8, 8)."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 64, 128, 160),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )
    initialise_autoencoder(vae)
    return vae
