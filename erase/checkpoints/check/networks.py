"""The tensors that a part's configuration calls for, and whether the configurations of the parts fit one another.

Networks of diffusers are built on torch's meta device, without memory; a text encoder of CLIP is a list of shapes.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from erase.checkpoints.check.classes import CLIP_TEXT
from erase.checkpoints.families import CHANNELS
from erase.checkpoints.folder import config_of, model_index
from erase.errors import InputError
from erase.torchvision_compat import check_torchvision

Shapes = dict[str, tuple[int, ...]]
Config = dict[str, Any]
TEXT_DEFAULTS: Config = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "projection_dim": 512, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
"""What a CLIPTextConfig has without a file."""
NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
LARGEST = 2**24  # of any number of a configuration: vocabularies stay below it
DEEPEST = 256  # of numbers of layers
LAYERS = ("layer", "depth")  # parts of the names of such numbers
BLOCKS = 2048  # of a network: levels, layers in each, and transformers in each of these
LONGEST = 32  # of lists: levels of a network


def part_class(folder: Path, part: str) -> str:
    """The class that model_index.json lists for a part."""
    return str(model_index(folder)[part][1])


def part_config(folder: Path, part: str) -> Config:
    """A network's configuration, with the defaults of its class for what the file leaves out. InputError for impossible values."""
    config = config_of(folder, part, "config.json")
    _check_numbers(folder, part, config)
    kind = part_class(folder, part)
    if kind in CLIP_TEXT:
        nested = config.get("text_config")  # the whole of CLIP keeps its text encoder's there
        own = nested if config.get("model_type") == "clip" and isinstance(nested, dict) else config
        return {**TEXT_DEFAULTS, **own}
    return {**_defaults(kind), **config} if part in ("unet", "transformer", "vae") else config


def expected_shapes(folder: Path, part: str) -> Shapes | None:
    """Tensor -> shape under today's names, those of a text encoder without `text_model.`; None for a text encoder of another kind."""
    kind, config = part_class(folder, part), part_config(folder, part)
    if part.startswith("text") and kind not in CLIP_TEXT:
        return None
    try:
        return shapes_of(kind, config)
    except Exception as error:  # a library that is given nonsense raises a dozen kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        message = f"{folder / part / 'config.json'} does not describe a {kind} ({type(error).__name__}: {reason}); download the model again"
        raise InputError(message) from None


def shapes_of(kind: str, config: Mapping[str, Any]) -> Shapes:
    """Tensor -> shape of a network of a class of ours with this configuration."""
    if kind in CLIP_TEXT:
        return dict(_text_shapes({**TEXT_DEFAULTS, **config}, projection=kind.endswith("WithProjection")))
    return _meta_shapes(kind, json.dumps({name: value for name, value in config.items() if not name.startswith("_")}, sort_keys=True))


def number_of_weights(folder: Path, part: str) -> int:
    """Weights of a part, by its configuration."""
    if (shapes := expected_shapes(folder, part)) is not None:
        return sum(math.prod(shape) for shape in shapes.values())
    config = {"num_layers": 6, "num_heads": 8, "d_kv": 64, "d_model": 512, "d_ff": 2048, "vocab_size": 32128} | part_config(folder, part)
    width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
    layer = 4 * width * inner + (3 if gated else 2) * width * config["d_ff"] + 2 * width
    buckets = config.get("relative_attention_num_buckets", 32) * config["num_heads"]
    return int(config["vocab_size"] * width + config["num_layers"] * layer + buckets + width)


@lru_cache(maxsize=16)
def _meta_shapes(kind: str, config: str) -> Shapes:
    import torch

    network = _network_class(kind)
    known = inspect.signature(network.__init__).parameters
    with torch.device("meta"):
        built = network.from_config({name: value for name, value in json.loads(config).items() if name in known})
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


def _defaults(kind: str) -> Config:
    parameters = inspect.signature(_network_class(kind).__init__).parameters.values()
    return {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in parameters if p.default is not p.empty}


def _network_class(kind: str) -> Any:
    check_torchvision()
    if kind == "AutoencoderKL":
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        return AutoencoderKL
    if kind == "SD3Transformer2DModel":
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

        return SD3Transformer2DModel
    if kind == "FluxTransformer2DModel":
        from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

        return FluxTransformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel


def _text_shapes(config: Mapping[str, Any], projection: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "embeddings.token_embedding.weight", (config["vocab_size"], width)
    yield "embeddings.position_embedding.weight", (config["max_position_embeddings"], width)
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{i}"
        linear = {f"self_attn.{name}": (width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        for name, shape in {**linear, "mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}.items():
            yield from ((f"{layer}.{name}.weight", shape), (f"{layer}.{name}.bias", shape[:1]))
        for name in ("layer_norm1", "layer_norm2"):
            yield from ((f"{layer}.{name}.weight", (width,)), (f"{layer}.{name}.bias", (width,)))
    yield from (("final_layer_norm.weight", (width,)), ("final_layer_norm.bias", (width,)))
    if projection:
        yield "text_projection.weight", (config["projection_dim"], width)


def _check_numbers(folder: Path, part: str, config: Mapping[str, Any]) -> None:
    """InputError for a configuration that would take hours or all memory to build, even without weights."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, list):
            if len(value) > LONGEST:
                raise InputError(f"{folder / part / 'config.json'} has {len(value)} values in {name}; expected at most {LONGEST}")
            for item in value:
                check(name, item)
        elif isinstance(value, int) and not isinstance(value, bool):
            limit = DEEPEST if any(word in name for word in LAYERS) else LARGEST
            if not -1 <= value <= limit:
                raise InputError(f"{folder / part / 'config.json'} has {name} {value}; expected a number up to {limit}")

    for name, value in config.items():
        if not name.startswith("_") and name not in ("id2label", "label2id", "text_config", "vision_config"):
            check(name, value)
    sizes = (config.get("block_out_channels"), config.get("layers_per_block"), config.get("transformer_layers_per_block"))
    levels, layers, depth = (_numbers(size) for size in sizes)
    if (blocks := max(len(levels), 1) * max(layers, default=1) * max(depth, default=1)) > BLOCKS:
        raise InputError(f"{folder / part / 'config.json'} describes a network of {blocks} blocks; expected at most {BLOCKS}")
    if isinstance(nested := config.get("text_config"), dict):
        _check_numbers(folder, part, nested)


def _numbers(value: Any) -> list[int]:
    """All whole numbers in a value, a list or lists in a list."""
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if type(value) is int else []


def check_fit(folder: Path, xl: bool) -> None:
    """InputError where parts do not belong together, or need inputs that no supported pipeline gives them."""
    unet, vae = part_config(folder, "unet"), part_config(folder, "vae")
    _check_channels(folder, unet, vae)
    if unet["class_embed_type"] is not None or unet["num_class_embeds"] is not None:
        raise InputError(f"{folder}: its UNet reads class labels besides the prompt, which is not supported; give another model")
    if (unet["addition_embed_type"] == "text_time") != xl:
        kind = "one of Stable Diffusion XL" if not xl else "not one of Stable Diffusion XL"
        raise InputError(f"{folder}: its UNet is {kind} (addition_embed_type {unet['addition_embed_type']}); download the model again")
    encoders = [part for part in NETWORKS[3:] if part in model_index(folder) and part_class(folder, part) in CLIP_TEXT]
    texts = {part: part_config(folder, part) for part in encoders}
    if len(texts) == 1 + xl and unet["encoder_hid_dim"] is None:
        width, read = sum(config["hidden_size"] for config in texts.values()), unet["cross_attention_dim"]
        if any(value != width for value in (read if isinstance(read, list) else [read])):
            problem = f"its UNet reads text of the width {read}, and its text encoder has {width}"
            raise InputError(f"{folder}: {problem}; give the text encoder that belongs to the UNet")
    if xl and texts.get("text_encoder_2"):
        pooled = unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]
        if pooled != texts["text_encoder_2"]["projection_dim"]:
            problem = f"its UNet reads {pooled} pooled values, and text_encoder_2 has {texts['text_encoder_2']['projection_dim']}"
            raise InputError(f"{folder}: {problem}; give the text encoder that belongs to the UNet")


def _check_channels(folder: Path, unet: Config, vae: Config) -> None:
    read, latent = unet["in_channels"], vae["latent_channels"]
    if read != latent:
        kind = CHANNELS.get(read, "") if latent == 4 else ""
        what = f"{folder} is {kind}: its UNet" if kind else f"{folder}: its UNet"
        problem = f"{what} reads {read} channels, and its autoencoder makes {latent}"
        raise InputError(f"{problem}, which is not supported; give the model that generates from a prompt alone")
    if unet["out_channels"] != latent:
        problem = f"its UNet predicts {unet['out_channels']} channels, and its autoencoder makes {latent}"
        raise InputError(f"{folder}: {problem}; give another model")
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        problem = "its autoencoder has latents_mean or latents_std, as models of the EDM kind (Playground 2.5) have"
        raise InputError(f"{folder}: {problem}, which are not supported; give one of Stable Diffusion 1.x, 2.x or XL")
