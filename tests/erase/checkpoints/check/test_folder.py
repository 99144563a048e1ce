"""Folders as they are in the wild: what a job could not use is refused in one line, before anything; what works is let through."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from wild_folders import TEXT, UNET, VAE, Change, State, copied, file, gone, settings, weights

from erase.checkpoints.folder import check_model_folder
from erase.errors import InputError

QUERY = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def with_adapter(state: State) -> State:
    """As a UNet is saved while a LoRA is still injected."""
    value = state.pop(f"{QUERY}.weight")
    added = {"base_layer.weight": value, "lora_A.default_0.weight": torch.zeros(4, value.shape[1])}
    return state | {f"{QUERY}.{name}": tensor for name, tensor in added.items()}


def in_8_bits(state: State) -> State:
    return {name: value.to(torch.float8_e4m3fn) if value.ndim > 1 else value.half() for name, value in state.items()}


def tiny_autoencoder(folder: Path) -> None:
    import diffusers

    shutil.rmtree(folder / "vae")
    widths = (16,) * 4
    diffusers.AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths).save_pretrained(folder / "vae")
    settings("model_index.json", vae=["diffusers", "AutoencoderTiny"])(folder)


def without_part(folder: Path) -> None:
    settings("model_index.json", image_encoder=["transformers", "CLIPVisionModelWithProjection"])(folder)


INDEX, CONFIG, TEXT_CONFIG, SCHEDULER = (
    "model_index.json",
    "unet/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
FAULTS: dict[str, tuple[str, list[Change], str]] = {
    "a pipeline of its own": ("sd1", [settings(INDEX, _class_name=["my", "My"]), file("my.py", b"raise")], "has a pipeline with code of"),
    "custom_pipeline": ("sd1", [settings(INDEX, custom_pipeline="my")], "has a pipeline with code of its own, which is never run; give"),
    "a class of its own": (
        "sd1",
        [settings(INDEX, unet=["evil", "UNet2DConditionModel"])],
        "unet is of the class evil.UNet2DConditionModel",
    ),
    "a class of diffusers": (
        "sd1",
        [settings(INDEX, unet=["diffusers", "UNet3DConditionModel"])],
        "expected diffusers.UNet2DConditionModel",
    ),
    "a file that replaces a library": ("sd1", [file("unet/diffusers.py", b"raise")], r"code in its part unet \(diffusers.py\), which is"),
    "auto_map": ("sd1", [settings("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["my.T", None]})], "names code of its own"),
    "a class of a file": ("sd1", [settings(CONFIG, _class_name=["my", "My"])], r"unet/config.json names code of its own \(_class_name\)"),
    "an unknown part": ("sd1", [settings(INDEX, extra=["diffusers", "UNet2DConditionModel"])], "lists a part extra, which no supported"),
    "null": (
        "sd1",
        [settings(INDEX, feature_extractor=None)],
        r"has None for feature_extractor; expected its library and class, or \[null",
    ),
    "half a part": ("sd1", [settings(INDEX, vae=["diffusers"])], r"has \['diffusers'\] for vae; expected its library and class"),
    "a listed part that is missing": ("sd1", [without_part], "lacks its part image_encoder, which model_index.json lists; download"),
    "a link to nothing": ("sd1", [gone(UNET)], "is incomplete: unet/diffusion_pytorch_model.safetensors is a link to a file that is gone"),
    "a tokenizer's link": ("sd1", [gone("tokenizer/merges.txt")], "is incomplete: tokenizer/merges.txt is a link to a file that is gone"),
    "an adapter": (
        "sd1",
        [weights(UNET, with_adapter)],
        rf"an adapter that is not merged \({re.escape(QUERY)}.base_layer.weight, 2 in all",
    ),
    "an older adapter": ("sd1", [weights(UNET, lambda s: s | {"a.processor.to_q_lora.up.weight": torch.zeros(1)})], "adapter that is not"),
    "8 bits": ("sd1", [weights(UNET, in_8_bits)], r"its unet has .*weight in F8_E4M3; give it in float16, bfloat16 or float32"),
    "integers": ("sd1", [weights(VAE, lambda s: s | {"encoder.conv_in.bias": torch.zeros(32, dtype=torch.int8)})], "conv_in.bias in I8"),
    "quantised": ("sd1", [settings(CONFIG, quantization_config={"quant_method": "bitsandbytes"})], r"unet is quantised \(bitsandbytes\)"),
    "quantised in names": ("sd1", [weights(UNET, lambda s: s | {"conv_in.weight.absmax": torch.zeros(1)})], "quantised .it has conv_in"),
    "a tiny autoencoder": ("sd1", [tiny_autoencoder], r"vae is of the class diffusers.AutoencoderTiny \(a tiny autoencoder has no distrib"),
    "missing tensors": (
        "sd1",
        [weights(UNET, lambda s: {name: value for name, value in s.items() if "attn2.to_k" not in name})],
        r"its unet lacks down_blocks\.0.*attn2\.to_k\.weight and \d+ other tensors, which its configuration calls for; download",
    ),
    "a missing tensor of the text encoder": (
        "sdxl",
        [weights("text_encoder_2/model.safetensors", lambda s: {n: v for n, v in s.items() if n != "text_projection.weight"})],
        "its text_encoder_2 lacks text_projection.weight, which its configuration calls for",
    ),
    "another shape": (
        "sd1",
        [weights(UNET, lambda s: s | {"conv_out.bias": torch.zeros(7)})],
        r"conv_out.bias of \(7,\) where \(4,\) belongs",
    ),
    "an empty tensor": ("sd1", [weights(TEXT, lambda s: s | {next(iter(s)): torch.zeros(0)})], r"of \(0,\) where"),
    "nine channels": (
        "sd1",
        [settings(CONFIG, in_channels=9), weights(UNET, lambda s: s | {"conv_in.weight": torch.zeros(64, 9, 3, 3)})],
        "is an inpainting model: its UNet reads 9 channels, and its autoencoder makes 4",
    ),
    "another text encoder": ("sd1", [settings(CONFIG, cross_attention_dim=96)], "where .* belongs"),
    "class labels": (
        "sd1",
        [settings(CONFIG, num_class_embeds=2), weights(UNET, lambda s: s | {"class_embedding.weight": torch.zeros(2, 256)})],
        "its UNet reads class labels besides the prompt",
    ),
    "a UNet of no sense": ("sd1", [settings(CONFIG, down_block_types=["NoBlock", "NoBlock"])], "does not describe a UNet2DConditionModel"),
    "a UNet of any size": ("sd1", [settings(CONFIG, layers_per_block=10**9)], "has layers_per_block 1000000000; expected a number up to"),
    "a UNet of many blocks": (
        "sd1",
        [settings(CONFIG, layers_per_block=100, transformer_layers_per_block=[[100] * 3, 200])],
        "describes a network of 40000 blocks; expected at most 2048",
    ),
    "a long list": ("sd1", [settings(CONFIG, block_out_channels=[32] * 99)], "has 99 values in block_out_channels; expected at most 32"),
    "a text encoder of any depth": ("sd1", [settings(TEXT_CONFIG, num_hidden_layers=10**9)], "has num_hidden_layers 1000000000; expected"),
    "Playground's autoencoder": ("sdxl", [settings("vae/config.json", latents_mean=[0.0] * 4)], "models of the EDM kind"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_could_not_be_used_is_named_in_one_line(name: str, family_folders: dict[str, Path], tmp_path: Path) -> None:
    family, changes, message = FAULTS[name]
    folder = copied(family_folders[family], tmp_path / "model", *changes)
    with pytest.raises(InputError, match=message) as caught:
        check_model_folder(folder)
    assert "\n" not in str(caught.value)


def in_half(state: State) -> State:
    return {name: value.half() for name, value in state.items()}


def renamed(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new) and None


def old_attention(state: State) -> State:
    """Before 2023 the autoencoder's attention had other names."""
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name in [name for name in state if ".attentions." in name]:
        for new, old in words.items():
            if f".{new}." in name:
                state[name.replace(new, old)] = state.pop(name)
    return state


def whole_clip(folder: Path) -> None:
    """A configuration as CLIP itself has it, its text encoder within."""
    path = folder / TEXT_CONFIG
    path.write_text(json.dumps({"model_type": "clip", "text_config": json.loads(path.read_text())}))


WORKING: dict[str, tuple[str, list[Change]]] = {
    "fp16 variant": (
        "sd1",
        [renamed(UNET, "unet/diffusion_pytorch_model.fp16.safetensors"), renamed(VAE, f"vae/{Path(UNET).stem}.fp16.safetensors")],
    ),
    "non_ema variant beside": ("sd1", [file("unet/diffusion_pytorch_model.non_ema.safetensors", b"not looked at")]),
    "mixed variants": ("sdxl", [renamed(TEXT, "text_encoder/model.fp16.safetensors")]),
    "old names of the autoencoder's attention": ("sd1", [weights(VAE, old_attention)]),
    "averaged copies": (
        "sd1",
        [weights(UNET, lambda s: s | {"ema_decay": torch.zeros(1), "model_ema.conv_in.weight": torch.full((3,), torch.nan)})],
    ),
    "broken position_ids": ("sd1", [weights(TEXT, lambda s: s | {"text_model.embeddings.position_ids": torch.zeros(1, 3)})]),
    "integer position_ids": ("sd1", [weights(TEXT, lambda s: s | {"text_model.embeddings.position_ids": torch.arange(32)[None]})]),
    "names of transformers 4": ("sd1", [weights(TEXT, lambda s: {f"text_model.{n.removeprefix('text_model.')}": v for n, v in s.items()})]),
    "names of transformers 5": ("sd1", [weights(TEXT, lambda s: {n.removeprefix("text_model."): v for n, v in s.items()})]),
    "the whole of CLIP": (
        "sd1",
        [whole_clip, weights(TEXT, lambda s: s | {"logit_scale": torch.zeros(1), "vision_model.x": torch.ones(2)})],
    ),
    "mixed dtypes": ("sd1", [weights(UNET, in_half), weights(VAE, lambda s: {n: v.bfloat16() for n, v in s.items()})]),
    "defaults left out": ("sd1", [settings(CONFIG, in_channels=..., out_channels=..., act_fn=..., norm_eps=...)]),
    "a handler beside": ("sd1", [file("handler.py", b"raise SystemExit")]),
    "a licence and a read-me": ("sd1", [file("LICENSE.md"), file("README.md")]),
    "another variant's link to nothing": ("sd1", [gone("unet/diffusion_pytorch_model.fp16.safetensors")]),
    "a safety checker without weights": (
        "sd1",
        [
            settings(INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]),
            settings("safety_checker/config.json", model_type="clip"),
        ],
    ),
    "a configuration of later versions": ("sd1", [settings(CONFIG, an_option_of_tomorrow=None), settings("vae/config.json", more=[1])]),
}


@pytest.mark.parametrize("name", WORKING)
def test_what_works_is_let_through(name: str, family_folders: dict[str, Path], tmp_path: Path) -> None:
    family, changes = WORKING[name]
    check_model_folder(copied(family_folders[family], tmp_path / "model", *changes))


def test_a_hub_cache_of_links_is_a_model(family_folders: dict[str, Path], tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in family_folders["sd1"].rglob("*") if path.is_file())):
        shutil.copy(path, blobs / str(number))
        link = snapshot / path.relative_to(family_folders["sd1"])
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(number))
    check_model_folder(snapshot)
    (blobs / "0").unlink()
    with pytest.raises(InputError, match=r"model_index\.json|is incomplete"):
        check_model_folder(snapshot)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_families_pass(family: str, family_folders: dict[str, Path], tiny_pipeline: Path) -> None:
    check_model_folder(family_folders[family])
    check_model_folder(tiny_pipeline)
