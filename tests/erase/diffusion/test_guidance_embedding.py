"""A UNet distilled with a guidance embedding gets it in every forward pass, as its pipeline gives it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from tiny_pipeline import build_family

from erase.diffusion import StableDiffusion
from erase.diffusion.batches import Conditioning
from erase.diffusion.guidance_embedding import guidance_embedding
from erase.diffusion.prediction import predict
from erase.task import generator


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_family("sd1", tmp_path_factory.mktemp("lcm") / "model")
    config = json.loads((folder / "unet" / "config.json").read_text())
    torch.manual_seed(0)
    UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 32}).save_pretrained(folder / "unet")
    return folder


@pytest.mark.parametrize("scale", [1.0, 3.5, 7.5])
@pytest.mark.parametrize("width", [32, 33])
def test_the_embedding_is_that_of_diffusers(scale: float, width: int) -> None:
    theirs = StableDiffusionPipeline.get_guidance_scale_embedding(SimpleNamespace(), torch.tensor(scale - 1).repeat(3), width)
    assert torch.allclose(guidance_embedding(scale, 3, width), theirs, atol=1e-5)


def test_predictions_are_those_of_sampling(distilled: Path) -> None:
    """The same as with the embedding by hand, for the scale of the model; and another than without."""
    model = StableDiffusion(distilled)
    noisy, t = torch.randn(2, 4, 8, 8, generator=generator(0)), torch.tensor([10, 900])
    text = model.embed(["a star", "a ring"])
    unet, plain = model.network(), UNet2DConditionModel.from_pretrained(distilled / "unet").eval()
    with torch.no_grad():
        for scale in (2.0, 8.0):
            model.guidance = scale
            by_hand = plain(noisy, t, text, timestep_cond=guidance_embedding(scale, 2, 32)).sample
            assert torch.equal(predict(unet, noisy, t, Conditioning(text), torch.float32), by_hand)
            assert torch.equal(predict(model.pipeline.unet, noisy, t, Conditioning(text), torch.float32), by_hand)
        assert not torch.allclose(by_hand, plain(noisy, t, text).sample)


def test_sampling_gives_its_own(distilled: Path) -> None:
    """The pipeline's images do not change by it."""
    model, random = StableDiffusion(distilled), [torch.Generator().manual_seed(0)]
    (ours,) = model.sampler(2, 3.0)(["a star"], random)
    plain = StableDiffusionPipeline.from_pretrained(distilled, safety_checker=None)
    plain.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "height": model.size, "width": model.size}
    (theirs,) = plain(["a star"], generator=[torch.Generator().manual_seed(0)], **options).images
    assert ours.tobytes() == theirs.tobytes()


def test_other_unets_are_as_they_were(tiny_pipeline: Path) -> None:
    assert not StableDiffusion(tiny_pipeline).network()._forward_pre_hooks
