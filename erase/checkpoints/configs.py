"""The configurations of a folder's parts, from the shapes of its tensors and from what its family fixes.

Used in both directions: to write the folder of a single file, and to find out whether a folder has anything that a single file
cannot store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from erase.checkpoints.families import FAMILIES
from erase.checkpoints.weight_names import Tensors, count

Config = dict[str, Any]


def configs(parts: Mapping[str, Tensors], family: str, prediction: str, size: int | tuple[int, int]) -> dict[str, Config]:
    """Part -> configuration. `parts` has the names of diffusers, `size` is height and width in pixels, or one number for both."""
    size = (size, size) if isinstance(size, int) else size
    parts_configs = {"unet": unet_config(parts["unet"], family, prediction, size), "vae": vae_config(parts["vae"], family, size)}
    parts_configs |= {part: text_config(parts[part], part, family) for part in FAMILIES[family].text}
    return parts_configs | {"scheduler": {**FAMILIES[family].scheduler, "prediction_type": prediction}}


def unet_config(tensors: Tensors, family: str, prediction: str, size: tuple[int, int]) -> Config:
    """The configuration of a UNet2DConditionModel."""
    levels, layers = range(count(tensors, r"down_blocks\.(\d+)\.")), count(tensors, r"down_blocks\.0\.resnets\.(\d+)\.")
    widths = [tensors[f"down_blocks.{i}.resnets.0.conv2.weight"].shape[0] for i in levels]
    depths = [_depths(tensors, f"down_blocks.{i}", layers) for i in levels]
    up_depths = [_depths(tensors, f"up_blocks.{i}", layers + 1) for i in levels]
    heads = FAMILIES[family].heads
    side = size[0] // 8 if size[0] == size[1] else [size[0] // 8, size[1] // 8]
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": side,
        "in_channels": tensors["conv_in.weight"].shape[1],
        "out_channels": tensors["conv_out.weight"].shape[0],
        "down_block_types": ["CrossAttnDownBlock2D" if any(depth) else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if any(depth) else "UpBlock2D" for depth in up_depths],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "cross_attention_dim": _first(tensors, ".transformer_blocks.0.attn2.to_k.weight").shape[1],
        "attention_head_dim": [width // heads for width in widths] if heads else 8,
        "transformer_layers_per_block": [max(depth[0], 1) for depth in depths],
        "use_linear_projection": len(_first(tensors, ".proj_in.weight").shape) == 2,
        "norm_num_groups": 32,
        "upcast_attention": family == "sd2" and prediction == "v_prediction",  # overflows in half precision otherwise
    }
    config |= _distilled(tensors, depths, up_depths)
    if "add_embedding.linear_1.weight" in tensors:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": tensors["add_embedding.linear_1.weight"].shape[1],
        }
    return config


def _depths(tensors: Tensors, block: str, layers: int) -> list[int]:
    """Transformer blocks in each attention of a block of the UNet; 0 where there is none."""
    name = re.escape(block)
    return [count(tensors, rf"{name}\.attentions\.{j}\.transformer_blocks\.(\d+)\.") for j in range(layers)] or [0]


def _first(tensors: Tensors, end: str) -> Any:
    """The first tensor of a name that ends so; KeyError where there is none."""
    return tensors[next((name for name in tensors if name.endswith(end)), end.removeprefix("."))]


def _distilled(tensors: Tensors, depths: list[list[int]], up_depths: list[list[int]]) -> Config:
    """What UNets have from which blocks were removed: another middle, and attentions of different depths within a block."""
    config: Config = {}
    if not any(name.startswith(("mid_block.attentions.0.", "mid_block.resnets.1.")) for name in tensors):
        has_middle = any(name.startswith("mid_block.") for name in tensors)
        config["mid_block_type"] = "UNetMidBlock2D" if has_middle else None
    if any(len(set(depth)) > 1 for depth in (*depths, *up_depths)) or _uneven(depths, up_depths):
        config["transformer_layers_per_block"] = [depth if any(depth) else 1 for depth in depths]
        config["reverse_transformer_layers_per_block"] = [depth if any(depth) else 1 for depth in up_depths]
    return config


def _uneven(depths: list[list[int]], up_depths: list[list[int]]) -> bool:
    """Whether a block on the way up has attentions of another depth than its counterpart on the way down."""
    return any(any(up) and any(down) and up[0] != down[0] for down, up in zip(depths, reversed(up_depths), strict=False))


def vae_config(tensors: Tensors, family: str, size: tuple[int, int]) -> Config:
    """The configuration of an AutoencoderKL."""
    levels = range(count(tensors, r"encoder\.down_blocks\.(\d+)\."))
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": max(size),
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "up_block_types": ["UpDecoderBlock2D" for _ in levels],
        "block_out_channels": [tensors[f"encoder.down_blocks.{i}.resnets.0.conv2.weight"].shape[0] for i in levels],
        "layers_per_block": count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": 32,
        "scaling_factor": FAMILIES[family].scaling,
        "force_upcast": True,
    }


def text_config(tensors: Tensors, part: str, family: str) -> Config:
    """The configuration of a CLIPTextModel, or of a CLIPTextModelWithProjection for SDXL's second encoder."""
    positions, width = tensors["text_model.embeddings.position_embedding.weight"].shape
    second = part == "text_encoder_2"
    return {
        "architectures": ["CLIPTextModelWithProjection" if second else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": tensors["text_model.embeddings.token_embedding.weight"].shape[0],
        "hidden_size": width,
        "intermediate_size": tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": count(tensors, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": width // 64,
        "max_position_embeddings": positions,
        "projection_dim": tensors["text_projection.weight"].shape[0] if second else width,
        "hidden_act": "gelu" if second or family == "sd2" else "quick_gelu",
        "layer_norm_eps": 1e-05,
    }


# These do not affect what a single file stores, or follow from the shapes of its tensors, and differ between published folders.
LOADING = {
    "force_upcast",
    "upcast_attention",
    "architectures",
    "model_type",
    "_class_name",
    "sample_size",
    "text_encoder.projection_dim",
    "mid_block_type",
    "transformer_layers_per_block",
    "reverse_transformer_layers_per_block",
}


def misfits(folder: Mapping[str, Config], single_file: Mapping[str, Config]) -> list[str]:
    """Where a folder's configurations differ from those its single file would imply: `unet: attention_head_dim 4, not 8`.

    Of networks only: their configurations have the defaults of their classes for what a file leaves out.
    """
    differences = []
    for part, config in folder.items():
        levels = len(config.get("block_out_channels", ()))
        for name, value in single_file[part].items():
            free = {name, f"{part}.{name}"} & LOADING
            if not free and name in config and _spread(config[name], levels) != _spread(value, levels):
                differences.append(f"{part}: {name} {config[name]}, not {value}")
    return differences


def _spread(value: Any, levels: int) -> Any:
    """One number for all levels as one number per level."""
    if isinstance(value, int) and not isinstance(value, bool) and levels:
        return [value] * levels
    return list(value) if isinstance(value, tuple) else value
