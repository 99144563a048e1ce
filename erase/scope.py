"""Editable weights: named scopes, each a regular expression that is searched for in parameter names.

The names are those of diffusers (attn1 attends to the image, attn2 to the prompt) and of common classifiers. For any
other network give a pattern of your own, `re:PATTERN`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from erase.errors import EmptyScope, InputError

if TYPE_CHECKING:
    from torch import nn

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
    "head": (r"^(fc|heads?|classifier)\.", "the head of a classifier"),
    "last-stage": (r"^(layer4|layers\.3|stages\.3|fc|heads?|classifier)\.", "the last stage of a classifier, with its head"),
}

SCOPES: dict[str, str] = {name: pattern for name, (pattern, _) in _TABLE.items()}
"""Scope name -> pattern."""

SCOPE_HELP: dict[str, str] = {name: description for name, (_, description) in _TABLE.items()}
"""Scope name -> description."""

# Matched against the last part of the name without `.weight`: embedding tables and gains, whatever their shape.
_NOT_TRIMMED = re.compile(r"\w*(bias\w*|norm\w*|gamma|scale|table|tokens?|wte|wpe|shared|embed(ding)?s?)$")


def pattern_of(scope: str, option: str | None = None) -> re.Pattern[str]:
    """The regular expression of `scope`: a key of SCOPES, or `re:PATTERN`. InputError, about `option`, where it is neither."""
    pattern = scope[3:] if scope.startswith("re:") else SCOPES.get(scope)
    if pattern is None:
        known = ", ".join(SCOPES)
        raise InputError(f"scope {scope!r} is unknown: give one of {known}, or re: and a pattern over parameter names", option=option)
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"scope {scope!r} is not a regular expression: {error}", option=option) from None


def in_scope(network: nn.Module, scope: str) -> dict[str, nn.Parameter]:
    """The parameters of `network` in `scope`: a key of SCOPES, or `re:PATTERN`. EmptyScope if there are none."""
    pattern = pattern_of(scope)
    weights = {name: weight for name, weight in network.named_parameters() if pattern.search(name)}
    if not weights:
        example = next((name for name, _ in network.named_parameters()), "none at all")
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
