"""Weight names of the transformers of FLUX.1 and Stable Diffusion 3.x in two layouts: the original single file, and diffusers.

The original keeps query, key and value (in FLUX's single blocks also the feed-forward) in one matrix, and the last layers that scale and
shift in the other order. Tensors are cut, joined and their halves exchanged, never computed on, so a round trip is exact to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erase.checkpoints.safetensors_file import LazyTensor, stacked
from erase.checkpoints.weight_names import Tensors, count

QKV = ("to_q", "to_k", "to_v")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")
GUIDANCE = "guidance_in"
"""The layer of the original that FLUX.1-dev has and FLUX.1-schnell lacks."""


@dataclass(frozen=True)
class Layer:
    """A layer of the original layout, and those of diffusers that are stacked in it, from the top row to the last.

    `swapped`: the upper and lower half of its rows stand in the other order. `gain`: what the original calls its weight.
    """

    original: str
    parts: tuple[str, ...]
    swapped: bool = False
    gain: str = "weight"


def _layer(original: str, *parts: str, swapped: bool = False, gain: str = "weight") -> Layer:
    return Layer(original, parts, swapped, gain)


def flux_layers(names: Iterable[str]) -> list[Layer]:
    """The layers of a FLUX.1 transformer with these tensors, named in either layout."""
    names = list(names)
    duals = max(count(names, r"double_blocks\.(\d+)\."), count(names, r"transformer_blocks\.(\d+)\."))
    singles = max(count(names, r"single_blocks\.(\d+)\."), count(names, r"single_transformer_blocks\.(\d+)\."))
    embedders = {"time_in": "timestep", "vector_in": "text", GUIDANCE: "guidance"}
    layers = [_layer("img_in", "x_embedder"), _layer("txt_in", "context_embedder")]
    for old, new in embedders.items():
        layers += [_layer(f"{old}.{side}_layer", f"time_text_embed.{new}_embedder.linear_{n}") for n, side in ((1, "in"), (2, "out"))]
    for i in range(duals):
        layers += [layer for stream in ("img", "txt") for layer in _flux_stream(f"double_blocks.{i}", f"transformer_blocks.{i}", stream)]
    for i in range(singles):
        old, new = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        layers += [
            _layer(f"{old}.linear1", *(f"{new}.attn.{part}" for part in QKV), f"{new}.proj_mlp"),
            _layer(f"{old}.linear2", f"{new}.proj_out"),
            _layer(f"{old}.modulation.lin", f"{new}.norm.linear"),
            _layer(f"{old}.norm.query_norm", f"{new}.attn.norm_q", gain="scale"),
            _layer(f"{old}.norm.key_norm", f"{new}.attn.norm_k", gain="scale"),
        ]
    return [*layers, *_last()]


def _flux_stream(old: str, new: str, stream: str) -> list[Layer]:
    """The layers of one stream, img or txt, of a dual block."""
    image = stream == "img"
    ff, out, norm = ("ff", "to_out.0", "norm_") if image else ("ff_context", "to_add_out", "norm_added_")
    return [
        _layer(f"{old}.{stream}_attn.qkv", *(f"{new}.attn.{part}" for part in (QKV if image else ADDED))),
        _layer(f"{old}.{stream}_attn.proj", f"{new}.attn.{out}"),
        _layer(f"{old}.{stream}_attn.norm.query_norm", f"{new}.attn.{norm}q", gain="scale"),
        _layer(f"{old}.{stream}_attn.norm.key_norm", f"{new}.attn.{norm}k", gain="scale"),
        _layer(f"{old}.{stream}_mlp.0", f"{new}.{ff}.net.0.proj"),
        _layer(f"{old}.{stream}_mlp.2", f"{new}.{ff}.net.2"),
        _layer(f"{old}.{stream}_mod.lin", f"{new}.norm1{'' if image else '_context'}.linear"),
    ]


def sd3_layers(names: Iterable[str]) -> list[Layer]:
    """The layers of a transformer of Stable Diffusion 3 or 3.5 with these tensors, named in either layout."""
    names = list(names)
    blocks = max(count(names, r"joint_blocks\.(\d+)\."), count(names, r"transformer_blocks\.(\d+)\."))
    layers = [_layer("x_embedder.proj", "pos_embed.proj"), _layer("context_embedder", "context_embedder")]
    for old, new in {"t_embedder": "timestep", "y_embedder": "text"}.items():
        layers += [_layer(f"{old}.mlp.{at}", f"time_text_embed.{new}_embedder.linear_{n}") for n, at in ((1, 0), (2, 2))]
    for i in range(blocks):
        old, new = f"joint_blocks.{i}", f"transformer_blocks.{i}"
        layers += _sd3_attention(f"{old}.x_block.attn", f"{new}.attn", QKV, "to_out.0", "norm_")
        layers += _sd3_attention(f"{old}.x_block.attn2", f"{new}.attn2", QKV, "to_out.0", "norm_")
        layers += _sd3_attention(f"{old}.context_block.attn", f"{new}.attn", ADDED, "to_add_out", "norm_added_")
        for block, suffix in (("x_block", ""), ("context_block", "_context")):
            last = block == "context_block" and i == blocks - 1  # its text goes no further, and is scaled and shifted as in the last layer
            layers += [
                _layer(f"{old}.{block}.mlp.fc1", f"{new}.ff{suffix}.net.0.proj"),
                _layer(f"{old}.{block}.mlp.fc2", f"{new}.ff{suffix}.net.2"),
                _layer(f"{old}.{block}.adaLN_modulation.1", f"{new}.norm1{suffix}.linear", swapped=last),
            ]
    return [*layers, *_last()]


def _sd3_attention(old: str, new: str, projections: Sequence[str], out: str, norm: str) -> list[Layer]:
    norms = [_layer(f"{old}.ln_{x}", f"{new}.{norm}{x}") for x in "qk"]
    return [_layer(f"{old}.qkv", *(f"{new}.{part}" for part in projections)), _layer(f"{old}.proj", f"{new}.{out}"), *norms]


def _last() -> list[Layer]:
    modulation = _layer("final_layer.adaLN_modulation.1", "norm_out.linear", swapped=True)
    return [_layer("final_layer.linear", "proj_out"), modulation]


LAYERS = {"flux": flux_layers, "sd3": sd3_layers}
ALONE = {"pos_embed": "pos_embed.pos_embed"}  # tensors that are no layer: the positions of Stable Diffusion 3


def transformer_to_folder(tensors: Tensors, family: str) -> dict[str, LazyTensor]:
    """A transformer of a single file, without a prefix -> names of diffusers. Other names stay. KeyError for a layer that is torn."""
    layers = {layer.original: layer for layer in LAYERS[family](tensors)}
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        layer = layers.get(stem)
        if layer is None or last not in (layer.gain, "bias"):
            renamed[ALONE.get(name, name)] = tensor
            continue
        kind = "weight" if last == layer.gain else last
        if len(layer.parts) == 1:
            renamed[f"{layer.parts[0]}.{kind}"] = swapped(tensor) if layer.swapped else tensor
            continue
        first = 0
        for part, height in zip(layer.parts, _heights(tensors, layer, tensor.shape[0]), strict=True):
            renamed[f"{part}.{kind}"] = tensor.rows(first, first + height)
            first += height
    return renamed


def _heights(tensors: Tensors, layer: Layer, rows: int) -> list[int]:
    """How many rows of a stacked layer belong to each part."""
    if len(layer.parts) == len(QKV):
        return [rows // 3] * 3
    width = tensors[layer.original.replace("linear1", "linear2") + ".weight"].shape[0]  # of the block's features
    return [width] * 3 + [rows - 3 * width]


def transformer_to_file(tensors: Tensors, family: str) -> dict[str, LazyTensor]:
    """The reverse, without a prefix. KeyError, with the name, where a part of a stacked layer is missing."""
    renamed: dict[str, LazyTensor] = {}
    alone = {new: old for old, new in ALONE.items()}
    left = dict(tensors)
    for layer in LAYERS[family](tensors):
        for kind in ("weight", "bias"):
            if f"{layer.parts[0]}.{kind}" not in tensors:
                continue
            parts = [left.pop(name) for name in [f"{part}.{kind}" for part in layer.parts]]
            tensor = stacked(parts) if len(parts) > 1 else parts[0]
            renamed[f"{layer.original}.{layer.gain if kind == 'weight' else kind}"] = swapped(tensor) if layer.swapped else tensor
    return renamed | {alone.get(name, name): tensor for name, tensor in left.items()}


def swapped(tensor: LazyTensor) -> LazyTensor:
    """The upper half of the rows below the lower one."""
    half = tensor.shape[0] // 2
    return stacked([tensor.rows(half, tensor.shape[0]), tensor.rows(0, half)])


def in_order(rows: Tensor, layer: Layer) -> Tensor:
    """Rows in the order of the original where they are in that of diffusers, and the reverse."""
    return torch.cat(rows.chunk(2)[::-1]) if layer.swapped else rows
