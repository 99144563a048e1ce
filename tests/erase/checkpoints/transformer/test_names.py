"""Names of transformers in both layouts: as diffusers' own converters have them, and back to the bit."""

from __future__ import annotations

import copy
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from small_files import weights_of
from tiny_pipeline import build_stable_diffusion_3
from torch import Tensor

from erase.checkpoints.safetensors_file import LazyTensor
from erase.checkpoints.transformer.names import transformer_to_file, transformer_to_folder
from erase.checkpoints.transformer.recognise import config_from, transformer_family, variant

State = dict[str, Tensor]


def lazy(tensors: State) -> dict[str, LazyTensor]:
    return {name: LazyTensor(name, tensor.dtype, tuple(tensor.shape), lambda tensor=tensor: tensor) for name, tensor in tensors.items()}


def read(tensors: dict[str, LazyTensor]) -> State:
    return {name: tensor.load() for name, tensor in tensors.items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("second", [(), (0,)], ids=["3.5-large", "3.5-medium"])
def test_stable_diffusion_3_as_diffusers_converts_it(second: tuple[int, ...], tmp_path: Path) -> None:
    own = weights_of(build_stable_diffusion_3(tmp_path / "model", dual=second))
    file = transformer_to_file(lazy(own), "sd3")
    assert all(tensor.shape == tuple(tensor.load().shape) for tensor in file.values())
    assert same(read(transformer_to_folder(file, "sd3")), own)
    assert same(convert_sd3_transformer_checkpoint_to_diffusers(copy.copy(read(file))), own)
    assert transformer_family(file) == "sd3"
    config = config_from(file, "sd3", "x")
    assert (config["num_layers"], config["dual_attention_layers"], config["qk_norm"]) == (2, list(second), "rms_norm")
    assert (config["attention_head_dim"], config["num_attention_heads"], config["patch_size"]) == (16, 2, 2)
    assert (config["in_channels"], config["out_channels"], config["pos_embed_max_size"]) == (16, 16, 8)


@pytest.mark.parametrize("dev", [True, False], ids=["dev", "schnell"])
def test_flux_as_diffusers_converts_it_with_all_rows_of_its_true_size(dev: bool) -> None:
    # A column each: diffusers' converter cuts rows at the published width alone, and a whole network would take 48 GB.
    with torch.device("meta"):
        network = diffusers.FluxTransformer2DModel(guidance_embeds=dev, num_layers=3, num_single_layers=2)
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    own = {name: torch.randn(shape[0], *[1] * (len(shape) - 1), generator=generator) for name, shape in shapes.items()}
    file = transformer_to_file(lazy(own), "flux")
    assert same(read(transformer_to_folder(file, "flux")), own)
    assert same(convert_flux_transformer_checkpoint_to_diffusers(copy.copy(read(file))), own)
    assert variant(file, "flux") == f"FLUX.1-{'dev' if dev else 'schnell'}"
    config = config_from(file, "flux", "x")
    assert (config["num_layers"], config["num_single_layers"], config["attention_head_dim"]) == (3, 2, 128)
    assert (config["num_attention_heads"], config["guidance_embeds"], config["axes_dims_rope"]) == (24, dev, [16, 56, 56])
