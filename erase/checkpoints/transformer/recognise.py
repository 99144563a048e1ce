"""Which transformer a single file holds, and its configuration, from the names and shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erase.checkpoints.transformer.names import GUIDANCE
from erase.checkpoints.weight_names import Tensors, count, under
from erase.errors import InputError

PREFIX = "model.diffusion_model."
SIGNS = {"flux": r"(double|single)_blocks\.\d+\.", "sd3": r"joint_blocks\.\d+\."}
FIRST = {"flux": "double_blocks.0.img_attn.qkv.weight", "sd3": "joint_blocks.0.x_block.attn.qkv.weight"}
RELATIVES = {  # a part of some tensor name -> another model with blocks of the same names
    r"distilled_guidance_layer": "Chroma", r"double_stream_modulation|single_stream_modulation": "FLUX.2",
    r"pulid|ip_adapter": "an adapter of FLUX.1", r"controlnet": "a ControlNet of FLUX.1",
}  # fmt: skip
CHANNELS = {384: "FLUX.1 Fill, which completes an image", 128: "FLUX.1 for an image beside the prompt", 448: "FLUX.1 of another tool"}
FLUX_AXES = {128: [16, 56, 56]}  # channels of an attention head -> how many of them turn with place, row and column
SD3_HEAD = 64


@dataclass(frozen=True)
class Kind:
    """`pipeline` and `network`: classes of diffusers; `text`: part of the folder -> prefix in a single file."""

    title: str
    pipeline: str
    network: str
    text: Mapping[str, str]


KINDS = {
    "flux": Kind(
        "FLUX.1", "FluxPipeline", "FluxTransformer2DModel",
        {"text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.t5xxl.transformer."},
    ),
    "sd3": Kind(
        "Stable Diffusion 3", "StableDiffusion3Pipeline", "SD3Transformer2DModel",
        {
            "text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.clip_g.transformer.",
            "text_encoder_3": "text_encoders.t5xxl.transformer.",
        },
    ),
}  # fmt: skip
VAE_PREFIXES = ("first_stage_model.", "vae.")


def transformer_family(tensors: Tensors) -> str | None:
    """A key of KINDS; None for a file that holds no such transformer."""
    names = [name.removeprefix(PREFIX) for name in tensors]
    return next((family for family, sign in SIGNS.items() if any(re.match(sign, name) for name in names)), None)


def transformer_of(tensors: Tensors, family: str, label: str) -> dict[str, Any]:
    """The transformer's tensors, without a prefix. InputError that begins with `label` for a model of another kind."""
    for pattern, other in RELATIVES.items():
        if any(re.search(pattern, name) for name in tensors):
            raise InputError(f"{label} is {other}, which is not supported; give {KINDS[family].title}")
    own = under(tensors, PREFIX) or {name: tensor for name, tensor in tensors.items() if not _is_other_part(name)}
    if lora := next((name for name in tensors if re.search(r"lora_|\.diff(_b)?$", name)), None):
        raise InputError(f"{label} is an addition to a model ({lora}), not the model; give the model")
    if small := next((name for name, tensor in own.items() if tensor.dtype.itemsize < 2), None):
        raise InputError(f"{label} has 8-bit weights ({small}), which cannot be changed; give it in float16, bfloat16 or float32")
    channels = own["img_in.weight"].shape[1] if family == "flux" and "img_in.weight" in own else None
    if channels in CHANNELS:
        raise InputError(f"{label} is {CHANNELS[channels]}, not supported; give the model that generates from a prompt alone")
    if FIRST[family] not in own:
        raise not_complete(label, family, FIRST[family])
    return own


def not_complete(label: str, family: str, absent: object) -> InputError:
    """The error for a file that lacks a tensor."""
    return InputError(f"{label} is a transformer of {KINDS[family].title} and not complete: it lacks {absent}; download it again")


def _is_other_part(name: str) -> bool:
    return name.startswith((*VAE_PREFIXES, "text_encoders."))


def variant(tensors: Tensors, family: str) -> str:
    """What the file is, in words: FLUX.1-dev reads a guidance scale and schnell does not."""
    if family == "flux":
        return f"FLUX.1-{'dev' if any(name.startswith(GUIDANCE) for name in tensors) else 'schnell'}"
    return f"Stable Diffusion {'3.5' if any('.ln_q.' in name for name in tensors) else '3'}"


def config_from(tensors: Tensors, family: str, label: str) -> dict[str, Any]:
    """What the shapes of a transformer in the original layout say of its configuration. InputError for one that is torn."""
    try:
        return _flux(tensors) if family == "flux" else _sd3(tensors)
    except KeyError as error:
        raise not_complete(label, family, error.args[0]) from None


def _flux(tensors: Tensors) -> dict[str, Any]:
    head, width = tensors["double_blocks.0.img_attn.norm.query_norm.scale"].shape[0], tensors["img_in.weight"].shape[0]
    return {
        "in_channels": tensors["img_in.weight"].shape[1],
        "num_layers": count(tensors, r"double_blocks\.(\d+)\."),
        "num_single_layers": count(tensors, r"single_blocks\.(\d+)\."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors["txt_in.weight"].shape[1],
        "pooled_projection_dim": tensors["vector_in.in_layer.weight"].shape[1],
        "guidance_embeds": any(name.startswith(GUIDANCE) for name in tensors),
        **({"axes_dims_rope": FLUX_AXES[head]} if head in FLUX_AXES else {}),
    }


def _sd3(tensors: Tensors) -> dict[str, Any]:
    kernel, width = tensors["x_embedder.proj.weight"].shape, tensors["x_embedder.proj.weight"].shape[0]
    norm = tensors.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head = norm.shape[0] if norm is not None else SD3_HEAD
    second = {int(match[1]) for name in tensors if (match := re.match(r"joint_blocks\.(\d+)\.x_block\.attn2\.", name))}
    return {
        "patch_size": kernel[2],
        "in_channels": kernel[1],
        "out_channels": tensors["final_layer.linear.weight"].shape[0] // kernel[2] ** 2,
        "num_layers": count(tensors, r"joint_blocks\.(\d+)\."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "caption_projection_dim": width,
        "joint_attention_dim": tensors["context_embedder.weight"].shape[1],
        "pooled_projection_dim": tensors["y_embedder.mlp.0.weight"].shape[1],
        "pos_embed_max_size": math.isqrt(tensors["pos_embed"].shape[1]),
        "dual_attention_layers": sorted(second),
        "qk_norm": "rms_norm" if norm is not None else None,
    }
