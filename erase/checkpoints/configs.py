"""The configurations of a folder's parts, from the shapes of its tensors and from what its family fixes.

Used in both directions: to write the folder of a single file, and to find out whether a folder has anything that a single file
cannot store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erase.checkpoints.families import FAMILIES
from erase.checkpoints.weight_names import Tensors, count

Config = dict[str, Any]


def configs(parts: Mapping[str, Tensors], family: str, prediction: str, size: int) -> dict[str, Config]:
    """Part -> configuration. `parts` has the names of diffusers, `size` is in pixels."""
    parts_configs = {"unet": unet_config(parts["unet"], family, prediction, size), "vae": vae_config(parts["vae"], family, size)}
    parts_configs |= {part: text_config(parts[part], part, family) for part in FAMILIES[family].text}
    return parts_configs | {"scheduler": {**FAMILIES[family].scheduler, "prediction_type": prediction}}


def unet_config(tensors: Tensors, family: str, prediction: str, size: int) -> Config:
    """The configuration of a UNet2DConditionModel."""
    levels = range(count(tensors, r"down_blocks\.(\d+)\."))
    widths = [tensors[f"down_blocks.{i}.resnets.0.conv2.weight"].shape[0] for i in levels]
    depths = [count(tensors, rf"down_blocks\.{i}\.attentions\.0\.transformer_blocks\.(\d+)\.") for i in levels]
    up_depths = [count(tensors, rf"up_blocks\.{i}\.attentions\.0\.transformer_blocks\.(\d+)\.") for i in levels]
    heads = FAMILIES[family].heads
    attention = "mid_block.attentions.0."
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": size // 8,
        "in_channels": tensors["conv_in.weight"].shape[1],
        "out_channels": tensors["conv_out.weight"].shape[0],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in up_depths],
        "block_out_channels": widths,
        "layers_per_block": count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "cross_attention_dim": tensors[f"{attention}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "attention_head_dim": [width // heads for width in widths] if heads else 8,
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
        "use_linear_projection": len(tensors[f"{attention}proj_in.weight"].shape) == 2,
        "norm_num_groups": 32,
        "upcast_attention": family == "sd2" and prediction == "v_prediction",  # overflows in half precision otherwise
    }
    if "add_embedding.linear_1.weight" in tensors:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": tensors["add_embedding.linear_1.weight"].shape[1],
        }
    return config


def vae_config(tensors: Tensors, family: str, size: int) -> Config:
    """The configuration of an AutoencoderKL."""
    levels = range(count(tensors, r"encoder\.down_blocks\.(\d+)\."))
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": size,
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


# These do not affect what a single file stores, and differ between published folders.
LOADING = {
    "force_upcast",
    "upcast_attention",
    "architectures",
    "model_type",
    "_class_name",
    "vae.sample_size",
    "text_encoder.projection_dim",
}
SCHEDULE = {"beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "prediction_type"}


def misfits(folder: Mapping[str, Config], single_file: Mapping[str, Config]) -> list[str]:
    """Where a folder's configurations differ from those its single file would imply: `unet: attention_head_dim 4, not 8`."""
    differences = []
    for part, config in single_file.items():
        levels = len(config.get("block_out_channels", ()))
        for name, value in config.items():
            free = {name, f"{part}.{name}"} & LOADING or (part == "scheduler" and name not in SCHEDULE)
            if not free and name in folder[part] and _spread(folder[part][name], levels) != _spread(value, levels):
                differences.append(f"{part}: {name} {folder[part][name]}, not {value}")
    return differences


def _spread(value: Any, levels: int) -> Any:
    """One number for all levels as one number per level."""
    if isinstance(value, int) and not isinstance(value, bool) and levels:
        return [value] * levels
    return list(value) if isinstance(value, tuple) else value
