"""Names of weights in both layouts: as diffusers' own conversion has them, at true size and in value, and back to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erase.checkpoints.configs import configs
from erase.checkpoints.families import FAMILIES, to_file, to_folder
from erase.checkpoints.safetensors_file import LazyTensor, lazy_tensors

WIDTHS = {"sd1": (768, 12, 12), "sd2": (1024, 16, 23), "sdxl": (768, 12, 12)}  # of the first text encoder: width, heads, layers
TENSORS = {
    "unet": {"sd1": 686, "sd2": 686, "sdxl": 1680},
    "vae": {"sd1": 248, "sd2": 248, "sdxl": 248},
    "text_encoder": {"sd1": 196, "sd2": 372, "sdxl": 196},
}


def unet_of(family: str) -> Any:
    """The published architecture, without weights."""
    from diffusers import UNet2DConditionModel

    if family == "sdxl":
        return UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), attention_head_dim=(5, 10, 20), cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
    second = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
    return UNet2DConditionModel(sample_size=64, **(second if family == "sd2" else {"cross_attention_dim": 768}))


def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4,
    )  # fmt: skip


def text(width: int, heads: int, layers: int, second: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, projection_dim=width,
        vocab_size=49408,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if second else CLIPTextModel)(config)


def true_parts(family: str) -> dict[str, dict[str, LazyTensor]]:
    with torch.device("meta"):
        modules = {"unet": unet_of(family), "vae": vae(), "text_encoder": text(*WIDTHS[family])}
        if family == "sdxl":
            modules["text_encoder_2"] = text(1280, 20, 32, second=True)
    return {part: lazies(module.state_dict()) for part, module in modules.items()}


def lazies(state: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    """Held tensors as lazy ones; a text encoder's names as every version but the newest of transformers has them."""

    def named(name: str) -> str:
        return f"text_model.{name}" if name.startswith(("embeddings.", "encoder.layers", "final_layer_norm")) else name

    return {
        named(name): LazyTensor(name, value.dtype, tuple(value.shape), partial(Tensor.view, value, value.shape))
        for name, value in state.items()
    }


def shapes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def by_diffusers(original: Mapping[str, Tensor], family: str, unet_config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The parts of a single file, converted by diffusers."""
    from types import SimpleNamespace

    from diffusers.loaders import single_file_utils as theirs

    found = {
        "unet": theirs.convert_ldm_unet_checkpoint(dict(original), dict(unet_config)),
        "vae": theirs.convert_ldm_vae_checkpoint(dict(original), {"down_block_types": [0] * 4, "up_block_types": [0] * 4}),
    }
    for part, prefix in FAMILIES[family].text.items():
        own = {name: value for name, value in original.items() if name.startswith(prefix)}
        if prefix.endswith(".model."):
            model = SimpleNamespace(config=SimpleNamespace(hidden_size=own[f"{prefix}ln_final.weight"].shape[0]))
            found[part] = theirs.convert_open_clip_checkpoint(model, own, prefix=prefix)
        else:
            found[part] = theirs.convert_ldm_clip_checkpoint(own)
    return found


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_full_list_of_names_and_shapes_is_that_of_diffusers_conversion(family: str) -> None:
    parts = true_parts(family)
    original = {name: tensor.load() for name, tensor in to_file(parts, family).items()}
    assert {part: len(parts[part]) for part in TENSORS} == {part: wanted[family] for part, wanted in TENSORS.items()}
    made = configs(parts, family, "epsilon", 512)
    theirs = by_diffusers(original, family, made["unet"])
    ours = to_folder(lazies(original), family)
    for part, tensors in parts.items():
        assert shapes(ours[part]) == shapes(tensors)
        assert shapes(theirs[part]) == shapes(tensors), part


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_configurations_made_from_shapes_are_those_of_the_published_architecture(family: str) -> None:
    parts = true_parts(family)
    made = configs(parts, family, "epsilon", {"sd1": 512, "sd2": 512, "sdxl": 1024}[family])
    with torch.device("meta"):
        wanted = {"unet": dict(unet_of(family).config), "vae": dict(vae().config)}
    for name, value in made["unet"].items():
        there = wanted["unet"].get(name, value)
        plain = list(there) if isinstance(there, tuple) else there
        assert value == plain or value == [plain] * len(value), name
    assert made["vae"]["block_out_channels"] == [128, 256, 512, 512]
    assert made["vae"]["layers_per_block"] == 2
    width, heads, layers = WIDTHS[family]
    found = made["text_encoder"]
    assert (found["hidden_size"], found["num_attention_heads"], found["num_hidden_layers"]) == (width, heads, layers)
    if family == "sdxl":
        assert made["text_encoder_2"]["num_attention_heads"] == 20
        assert made["unet"]["projection_class_embeddings_input_dim"] == 2816


@pytest.mark.parametrize("name", [
    "model.diffusion_model.input_blocks.3.0.op.weight", "model.diffusion_model.output_blocks.2.1.conv.weight",
    "model.diffusion_model.output_blocks.5.2.conv.weight", "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias",
    "first_stage_model.decoder.up.3.upsample.conv.weight", "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight",
    "first_stage_model.encoder.mid.attn_1.q.weight", "first_stage_model.quant_conv.weight",
    "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc2.bias",
])  # fmt: skip
def test_names_that_everyone_knows_are_in_a_file_of_stable_diffusion_1(name: str) -> None:
    assert name in to_file(true_parts("sd1"), "sd1")


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def tiny(request: pytest.FixtureRequest, family_folders: dict[str, Path]) -> tuple[str, dict[str, dict[str, LazyTensor]]]:
    family = request.param
    parts = ("unet", "vae", *FAMILIES[family].text)
    files = {part: next((family_folders[family] / part).glob("*.safetensors")) for part in parts}
    return family, {part: lazies({n: t.load() for n, t in lazy_tensors(file).items()}) for part, file in files.items()}


def test_values_are_those_of_diffusers_conversion(tiny: tuple[str, dict[str, dict[str, LazyTensor]]]) -> None:
    family, parts = tiny
    original = {name: tensor.load() for name, tensor in to_file(parts, family).items()}
    theirs = by_diffusers(original, family, configs(parts, family, "epsilon", 64)["unet"])
    for part, tensors in parts.items():
        for name, tensor in tensors.items():
            assert torch.equal(theirs[part][name], tensor.load()), name


def test_there_and_back_is_the_same_to_the_bit(tiny: tuple[str, dict[str, dict[str, LazyTensor]]]) -> None:
    family, parts = tiny
    again = to_folder(to_file(parts, family), family)
    for part, tensors in parts.items():
        assert again[part].keys() == tensors.keys()
        assert all(torch.equal(again[part][name].load(), tensor.load()) for name, tensor in tensors.items())
    twice = to_file(again, family)
    once = to_file(parts, family)
    assert twice.keys() == once.keys()
    assert all(torch.equal(twice[name].load(), once[name].load()) for name in once)


def test_an_autoencoder_of_an_old_folder_has_its_attention_too() -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    with torch.device("meta"):
        new = lazies(vae().state_dict())

    def older(name: str) -> str:
        for now, then in old.items():
            name = name.replace(f".attentions.0.{now}.", f".attentions.0.{then}.")
        return name

    parts = true_parts("sd1")
    renamed = {older(name): tensor for name, tensor in new.items()}
    assert renamed.keys() != new.keys()
    assert shapes(to_file({**parts, "vae": renamed}, "sd1")) == shapes(to_file(parts, "sd1"))
