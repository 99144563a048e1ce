"""The networks of the flow model: Stable Diffusion 3 in miniature, with the autoencoder of the shapes and without T5.

As in Stable Diffusion 3 the two encoders of CLIP come from elsewhere and are not trained: the first is the text encoder of the shapes'
pipeline, the second that of their CLIP. All that the model learns about pictures is in the transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.demo import clip_path, pipeline_path
from erase.demo.networks import LATENT_CHANNELS, PREFIX, TOKENS, WIDTH
from erase.demo.shapes import world
from erase.demo.training.grow import keep_words
from erase.torchvision_compat import check_torchvision

check_torchvision()  # before diffusers and transformers are imported

LAYERS = 3  # of each text encoder
POOLED = (WIDTH, 64)  # the width of each encoder's pooled text
SHIFT = 3.0  # of the noise levels, as in Stable Diffusion 3
ABSENT_TOKENS = 256  # that the pipeline puts where T5 is absent
TABLE = "embeddings.token_embedding.weight"


def build_text_encoder(tokenizer: Any, pooled: int, act: str) -> Any:
    """CLIPTextModelWithProjection; the transformer reads its last layer but one and its pooled state."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=pooled,
            hidden_act=act,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def text_encoders(tokenizer: Any) -> tuple[Any, Any]:
    """Both encoders with the weights that they have elsewhere. The first one's pooled state is projected by the identity."""
    from transformers import CLIPTextModel

    first, second = build_text_encoder(tokenizer, POOLED[0], "quick_gelu"), build_text_encoder(tokenizer, POOLED[1], "gelu")
    theirs = CLIPTextModel.from_pretrained(pipeline_path() / "text_encoder").state_dict()
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in theirs.items()}
    take_over(first, weights | {"text_projection.weight": torch.eye(WIDTH)}, tokenizer, pipeline_path() / "tokenizer")
    take_over(second, renamed(load_file(clip_path() / "open_clip_model.safetensors")), tokenizer, clip_path())
    return first, second


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text encoder of a CLIP of open_clip under the names of transformers, without `text_model.`."""
    names = {"token_embedding": TABLE.removesuffix(".weight"), "ln_final": "final_layer_norm"}
    result = {
        "embeddings.position_embedding.weight": weights["positional_embedding"],
        "text_projection.weight": weights["text_projection"].T,
        **{
            f"{new}.{kind}": weights[f"{old}.{kind}"]
            for old, new in names.items()
            for kind in ("weight", "bias")
            if f"{old}.{kind}" in weights
        },
    }
    for number in range(LAYERS):
        theirs, ours = f"transformer.resblocks.{number}.", f"encoder.layers.{number}."
        for kind in ("weight", "bias"):
            parts = zip("qkv", weights[f"{theirs}attn.in_proj_{kind}"].chunk(3), strict=True)
            result |= {f"{ours}self_attn.{part}_proj.{kind}": tensor for part, tensor in parts}
            pairs = {
                "attn.out_proj": "self_attn.out_proj",
                "ln_1": "layer_norm1",
                "ln_2": "layer_norm2",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
            }
            result |= {f"{ours}{new}.{kind}": weights[f"{theirs}{old}.{kind}"] for old, new in pairs.items()}
    return result


@torch.no_grad()
def take_over(encoder: Any, weights: dict[str, Tensor], tokenizer: Any, home: Path) -> None:
    """Copy every weight, to be trained no more. Embeddings of words that the tokenizer of `home` does not know are zero."""
    from transformers import CLIPTokenizer

    own = {name.removeprefix(PREFIX): tensor for name, tensor in encoder.state_dict().items() if not name.endswith("position_ids")}
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith("position_ids")}
    if own.keys() != weights.keys():
        raise ValueError(f"the weights differ in {sorted(own.keys() ^ weights.keys())[0]}")
    for name, tensor in weights.items():
        if name != TABLE:
            own[name].copy_(tensor)
    encoder.requires_grad_(False).eval()
    encoder.get_input_embeddings().weight.zero_()
    keep_words(encoder.get_input_embeddings(), weights[TABLE], CLIPTokenizer.from_pretrained(home).get_vocab(), tokenizer.get_vocab())


def build_transformer(width: int = 128, depth: int = 4) -> Any:
    """SD3Transformer2DModel on 8 x 8 latents of 8 channels, a token for each place.

    Every block is silent at first (Peebles and Xie 2023).
    """
    from diffusers import SD3Transformer2DModel

    side = world.SIZE // 8
    transformer = SD3Transformer2DModel(
        sample_size=side,
        patch_size=1,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=depth,
        attention_head_dim=min(width, 64),
        num_attention_heads=max(1, width // 64),
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=width,
        pooled_projection_dim=sum(POOLED),
        pos_embed_max_size=side,
    )
    for name, layer in transformer.named_modules():
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
            if "norm" in name or name == "proj_out":
                nn.init.zeros_(layer.weight)
            else:
                nn.init.xavier_uniform_(layer.weight)
    return transformer


def build_scheduler() -> Any:
    """Euler's method along the flow."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=SHIFT)
