"""Editable weights: named scopes, each a regular expression that is searched for in parameter names.

The names are those of diffusers and of common classifiers. In a UNet attn1 attends to the image and attn2 to the prompt. A transformer of
two streams (Stable Diffusion 3, FLUX) attends to both at once, and text and image have their own projections; there a scope has another
pattern of the same meaning: cross-attention, where the prompt enters, is the text stream. For any other network give a pattern of your
own, `re:PATTERN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from erase.errors import EmptyScope, InputError

if TYPE_CHECKING:
    from torch import nn

TEXT_KEYS = ".attn.add_k_proj.weight"  # a parameter of every transformer of two streams
_TEXT = r"\battn\.(add_[qkv]_proj|to_add_out|norm_added_[qk])\.|^context_embedder\.|^time_text_embed\.text_embedder\."
_IMAGE = r"^transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out|norm_[qk])\.|attn2\.)"
_TABLE = {
    "full": (r".", "every weight of the network"),
    "attention": (r"\battn[12]\.", "self-attention and cross-attention"),
    "self-attention": (r"\battn1\.", "self-attention: image positions attend to each other"),
    "cross-attention": (r"\battn2\.", "cross-attention: where the prompt enters"),
    "cross-attention-kv": (r"\battn2\.to_[kv]\.", "only the keys and values of cross-attention"),
    "not-cross-attention": (r"^(?!.*\battn2\.)", "all but cross-attention: for content that appears without being named"),
    "noxattn": (
        r"^(?!conv_out\.|conv_norm_out\.|time_embedding\.)(?!.*\battn2\.)",
        "all but cross-attention, output layers and the timestep embedding: what the code of ESD-u, EraseDiff and MUNBa trains",
    ),
    "decoder-self-attention": (
        r"^up_blocks\.[12]\.attentions\.1\..*\battn1\.",
        "self-attention in two decoder blocks, all that the released Scissorhands code trims in Stable Diffusion",
    ),
    "text-stream": (_TEXT, "in a transformer of two streams: the projections of the text, and where it enters, the pooled one too"),
    "image-stream": (_IMAGE, "in a transformer of two streams: the projections of the image"),
    "single-stream": (r"^single_transformer_blocks\.", "in FLUX: the blocks in which text and image share their weights"),
    "feed-forward": (
        r"\bff(_context)?\.net\.|^single_transformer_blocks\.\d+\.proj_(mlp|out)\.",
        "the feed-forward layers of attention blocks",
    ),
    "modulation": (
        r"\bnorm1(_context)?\.linear\.|^norm_out\.linear\.|^single_transformer_blocks\.\d+\.norm\.linear\.",
        "in a transformer of two streams: what scales and shifts the features by timestep and pooled text",
    ),
    "head": (r"^(fc|heads?|classifier)\.", "the head of a classifier"),
    "last-stage": (r"^(layer4|layers\.3|stages\.3|fc|heads?|classifier)\.", "the last stage of a classifier, with its head"),
}

SCOPES: dict[str, str] = {name: pattern for name, (pattern, _) in _TABLE.items()}
"""Scope name -> pattern."""

SCOPE_HELP: dict[str, str] = {name: description for name, (_, description) in _TABLE.items()}
"""Scope name -> description."""

_TWO_STREAMS = {
    "attention": r"\battn2?\.",
    "self-attention": _IMAGE,
    "cross-attention": _TEXT,
    "cross-attention-kv": r"\battn\.add_[kv]_proj\.",
    "not-cross-attention": rf"^(?!.*({_TEXT}))",
    "noxattn": rf"^(?!.*({_TEXT}))(?!proj_out\.|norm_out\.|time_text_embed\.)",
    "decoder-self-attention": r"(?!)",
}
"""Scopes that have another pattern in a transformer of two streams; the last has no counterpart there."""

_TEXT_ENCODER = {
    "full": r"^(?!.*\b(token|position)_embedding\.)",
    "attention": r"\.self_attn\.",
    "self-attention": r"\.self_attn\.",
    "feed-forward": r"\.mlp\.",
}
"""Scopes of a text encoder of CLIP, of which its embeddings of words and positions are never part; the others have no counterpart there."""

FACTOR = re.compile(r"\.lora_[AB]\.weight$")
"""The end of the name of a low-rank factor, `MODULE.lora_A.weight` or `MODULE.lora_B.weight`, of the weight `MODULE.weight`."""

# Matched against the last part of the name without `.weight`: embedding tables and gains, whatever their shape.
_NOT_TRIMMED = re.compile(r"\w*(bias\w*|norm\w*|gamma|scale|table|tokens?|wte|wpe|shared|embed(ding)?s?)$")


def pattern_of(scope: str, option: str | None = None, two_streams: bool = False, text_encoder: bool = False) -> re.Pattern[str]:
    """The regular expression of `scope`: a key of SCOPES, or `re:PATTERN`. InputError, about `option`, where it is neither."""
    pattern = scope[3:] if scope.startswith("re:") else (_TWO_STREAMS if two_streams else {}).get(scope, SCOPES.get(scope))
    if text_encoder and scope in SCOPES:
        pattern = _TEXT_ENCODER.get(scope, r"(?!)")
    if pattern is None:
        known = ", ".join(SCOPES)
        raise InputError(f"scope {scope!r} is unknown: give one of {known}, or re: and a pattern over parameter names", option=option)
    if two_streams and scope.startswith("re:") and "attn2" in pattern and "transformer_blocks" not in pattern:
        problem = f"scope {scope!r} is not cross-attention in a transformer of two streams, where attn2 is self-attention of the image"
        raise EmptyScope(f"{problem}; give text-stream, or a pattern that begins with re:^transformer_blocks", option=option)
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"scope {scope!r} is not a regular expression: {error}", option=option) from None


def own_weights(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a network, by the names that they have without low-rank factors (peft's `base_layer`), and without these."""
    for name, weight in network.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight


def weight_of(name: str) -> str:
    """The name of the weight that a low-rank factor changes; any other name is its own."""
    return FACTOR.sub(".weight", name)


def is_factor(name: str) -> bool:
    """Whether this is the name of a low-rank factor."""
    return FACTOR.search(name) is not None


def in_scope(network: nn.Module, scope: str) -> dict[str, nn.Parameter]:
    """The parameters of `network` in `scope`: a key of SCOPES, or `re:PATTERN`. EmptyScope if there are none."""
    two_streams = any(name.endswith(TEXT_KEYS) for name, _ in own_weights(network))
    text_encoder = any(name.startswith("text_encoder") for name, _ in own_weights(network))
    pattern = pattern_of(scope, two_streams=two_streams, text_encoder=text_encoder)
    weights = {name: weight for name, weight in own_weights(network) if pattern.search(name)}
    if not weights:
        example = next((name for name, _ in own_weights(network)), "none at all")
        raise EmptyScope(
            f"scope {scope!r} matches no weight of {type(network).__name__}, whose first is {example!r}: "
            f"give one of {', '.join(SCOPES)}, or re: and a pattern over parameter names"
        )
    return weights


def open_scope(network: nn.Module, scope: str) -> dict[str, nn.Parameter]:
    """Set requires_grad on the weights in scope and on no others; return them by name."""
    weights = in_scope(network, scope)
    network.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    return weights


def trimmable(weights: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The weights that trimming may reinitialise: matrices and convolution kernels.

    Biases and gains are left out because they are few, every unit depends on them, and they have no fan-in; embeddings
    because one of their entries is a fact about one word or position, and a random value is noise for it.
    """

    def fits(name: str, weight: nn.Parameter) -> bool:
        # A tensor of four dimensions is a kernel whatever its name: `patch_embedding` is a convolution.
        last = name.removesuffix(".weight").rpartition(".")[2]
        return weight.ndim >= 4 or (weight.ndim >= 2 and _NOT_TRIMMED.match(last) is None)

    return {name: weight for name, weight in weights.items() if fits(name, weight)}
