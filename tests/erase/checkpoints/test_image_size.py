"""The size of a model's images is the one that diffusers generates by default."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from wild_folders import copied, settings

from erase.checkpoints.folder import image_size, is_small, latent_factor, size_of
from erase.diffusion import open_model
from erase.errors import InputError

CONFIG = "unet/config.json"


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, (64, 64)),
        ({"sample_size": [8, 10]}, (64, 80)),
        ({"sample_size": [16, 16]}, (128, 128)),
        ({"sample_size": 32, "_diffusers_version": "0.6.0"}, (512, 512)),
        ({"sample_size": 96, "_diffusers_version": "0.8.1"}, (768, 768)),
        ({"sample_size": 32, "_diffusers_version": "0.9.0"}, (256, 256)),
        ({"sample_size": 32, "_diffusers_version": ...}, (256, 256)),
    ],
)
def test_it_is_what_diffusers_draws(values: dict[str, Any], size: tuple[int, int], family_folders: dict[str, Path], tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    folder = copied(family_folders["sd1"], tmp_path / "model", settings(CONFIG, **values))
    assert image_size(folder) == size
    if max(size) <= 128:
        pipeline = StableDiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline("a star", num_inference_steps=1, output_type="pt").images.shape[2:] == torch.Size(size)


@pytest.mark.parametrize("value", [None, ..., [8, 10], [8, 8, 8], "64", 0, -8, 10**9, [8, None]])
def test_without_a_square_size_one_is_asked_for(value: Any, family_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", settings(CONFIG, sample_size=value))
    with pytest.raises(InputError, match=r"names (no image size|images of 80 x 64 pixels) \(sample_size\), .* give --size") as caught:
        size_of(folder)
    assert caught.value.option == "size"
    assert open_model(folder, size=64).size == 64
    assert is_small(folder) == (value == [8, 10])


def test_the_factor_of_the_latents_is_the_autoencoders(family_folders: dict[str, Path]) -> None:
    assert latent_factor(family_folders["sd1"]) == 8
    assert math.log2(latent_factor(family_folders["sdxl"])) == 3
