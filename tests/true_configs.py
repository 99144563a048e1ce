"""Folders with the configurations of published models at their true size, and no weights: what a memory estimate needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLIP_L = {
    "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "projection_dim": 768, "vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
}  # fmt: skip
CLIP_G = CLIP_L | {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280,
    "hidden_act": "gelu",
}  # fmt: skip
T5_XXL = {
    "model_type": "t5", "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 16,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "sample_size": 1024,
    "use_quant_conv": False, "use_post_quant_conv": False, "force_upcast": True,
}  # fmt: skip

FLUX_DEV = {
    "_class_name": "FluxTransformer2DModel", "patch_size": 1, "in_channels": 64, "num_layers": 19, "num_single_layers": 38,
    "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768,
    "guidance_embeds": True,
}  # fmt: skip
"""11.9 billion weights."""

SD35_MEDIUM = {
    "_class_name": "SD3Transformer2DModel", "sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24,
    "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048, "pos_embed_max_size": 384, "dual_attention_layers": list(range(13)), "qk_norm": "rms_norm",
}  # fmt: skip
"""2.2 billion weights, and a table of positions."""


def flux_dev(folder: Path, **changes: int) -> Path:
    """FLUX.1-dev; with `changes` to its transformer another."""
    parts = {
        "transformer": FLUX_DEV | changes,
        "vae": VAE | {"scaling_factor": 0.3611, "shift_factor": 0.1159},
        "text_encoder": CLIP_L,
        "text_encoder_2": T5_XXL,
    }
    shift = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15}
    return _written(folder, "FluxPipeline", parts, shift)


def sd35_medium(folder: Path) -> Path:
    """Stable Diffusion 3.5 medium."""
    parts = {
        "transformer": SD35_MEDIUM,
        "vae": VAE | {"scaling_factor": 1.5305, "shift_factor": 0.0609},
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
        "text_encoder_3": T5_XXL,
    }
    return _written(folder, "StableDiffusion3Pipeline", parts, {"shift": 3.0})


def _written(folder: Path, pipeline: str, parts: dict[str, dict[str, Any]], schedule: dict[str, Any]) -> Path:
    projected = "CLIPTextModelWithProjection" if pipeline.startswith("Stable") else "CLIPTextModel"
    index: dict[str, Any] = {"_class_name": pipeline, "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
    for name, config in parts.items():
        t5 = config.get("model_type") == "t5"
        kind = str(config.get("_class_name", "T5EncoderModel" if t5 else projected))
        index[name] = ["transformers" if name.startswith("text") else "diffusers", kind]
        if name.startswith("text"):
            index[name.replace("text_encoder", "tokenizer")] = ["transformers", "T5TokenizerFast" if t5 else "CLIPTokenizer"]
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"num_train_timesteps": 1000, **schedule}))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
