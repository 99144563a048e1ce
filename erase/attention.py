"""Attention of two streams in which equal tokens of text are computed once.

Where T5 is absent, the pipeline of Stable Diffusion 3 reads zeros in its place: 256 tokens that are equal in every layer, because
nothing tells text tokens their places. Attention over k equal tokens is attention over one whose score is higher by log k, since
exp(s + log k) = k exp(s). So the network computes the same from one of them, in less time and memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Folding:
    """A hook before the transformer's forward: `count` tokens of zeros at the end of the text become one. `copies`: what it stands for."""

    def __init__(self, count: int) -> None:
        self.count, self.copies = count, 1

    def __call__(self, transformer: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        text = named["encoder_hidden_states"]
        equal = text.shape[1] >= self.count and not bool(text[:, -self.count :].any())
        self.copies = self.count if equal else 1
        return positional, {**named, "encoder_hidden_states": text[:, : text.shape[1] - self.copies + 1]}


class FoldedAttention:
    """A processor of diffusers' joint attention, in which the last token of the text counts as often as `folding` says."""

    def __init__(self, folding: Folding) -> None:
        self.folding = folding

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Any:
        """(n, image tokens, width) and (n, text tokens, width), or no text -> the same shapes."""
        parts = _heads(attn, hidden_states, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k))
        if encoder_hidden_states is None:
            return _leave(attn, _mixed(parts, copies=1))
        projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        text = _heads(attn, encoder_hidden_states, projections, (attn.norm_added_q, attn.norm_added_k))
        both = [torch.cat(pair, dim=2) for pair in zip(parts, text, strict=True)]
        image, words = _mixed(both, copies=self.folding.copies).split([hidden_states.shape[1], encoder_hidden_states.shape[1]], dim=1)
        return _leave(attn, image), words if attn.context_pre_only else attn.to_add_out(words)


def fold_equal_tokens(transformer: Any, count: int) -> None:
    """Let an SD3Transformer2DModel compute `count` tokens of zeros at the end of its text as one."""
    folding = Folding(count)
    transformer.register_forward_pre_hook(folding, with_kwargs=True)
    transformer.set_attn_processor(FoldedAttention(folding))


def _heads(attn: Any, states: Tensor, projections: tuple[Any, ...], norms: tuple[Any, Any]) -> list[Tensor]:
    """Query, key and value (n, heads, tokens, width of a head)."""
    parts = [project(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for project in projections]
    return [part if norm is None else norm(part) for part, norm in zip(parts, (*norms, None), strict=True)]


def _mixed(parts: list[Tensor], copies: int) -> Tensor:
    """Attention (n, tokens, width) of query, key and value; the last key counts `copies` times.

    On the CPU it is two matrix products: their gradient takes a third of the time of the fused one's.
    """
    query, key, value = parts
    bias = None
    if copies > 1:
        bias = torch.zeros(key.shape[2], dtype=query.dtype, device=query.device)
        bias[-1] = math.log(copies)
    if query.device.type == "cpu":
        scores = query * key.shape[-1] ** -0.5 @ key.transpose(-1, -2)
        mixed = (scores if bias is None else scores + bias).softmax(-1).to(value.dtype) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, None if bias is None else bias.expand(1, 1, query.shape[2], -1))
    together: Tensor = mixed.transpose(1, 2).flatten(2)
    return together


def _leave(attn: Any, states: Tensor) -> Any:
    return attn.to_out[1](attn.to_out[0](states))
