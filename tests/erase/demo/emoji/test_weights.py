"""The weights of the emoji world that are shipped so far: its autoencoder and its tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from erase.demo.emoji import captions, data, networks, pictures, world
from erase.errors import InputError

PIPELINE = world.HERE / "weights" / "pipeline"


@pytest.fixture(scope="module")
def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(PIPELINE / "vae").float().eval()


def test_the_autoencoder_has_latents_of_a_quarter_of_the_side(vae: Any) -> None:
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, world.SIZE, world.SIZE)).latent_dist.mean
    assert latents.shape == (1, networks.LATENT_CHANNELS, 16, 16)
    assert vae.config.scaling_factor != 0.18215  # which is that of Stable Diffusion


@pytest.mark.parametrize("unseen", [False, True], ids=["trained", "left out of training"])
def test_the_autoencoder_gives_pictures_back(vae: Any, unseen: bool) -> None:
    try:
        data.load()
    except InputError as error:
        pytest.skip(str(error))
    x = pictures.draw(list(world.scenes(24, 5, unseen=unseen)))
    with torch.no_grad():
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    assert (x - y).abs().mean().item() / 2 < 0.025


def test_every_word_of_the_captions_is_one_token() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer")
    assert [word for word in captions.words() if len(tokenizer(word).input_ids) != 3] == []
