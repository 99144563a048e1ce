"""The records of layers.json by block and by type of layer of the UNet, the transformer or the text encoders.

Reads names of parameters, never a network. A weight that layers.json does not list was out of scope.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.checkpoints.safetensors_header import header
from erase.errors import InputError
from erase.files import read_object

PARTS = ("unet", "transformer")
TYPES = {  # type of layer -> pattern over parameter names; the first that matches counts
    "self-attention": r"\battn1\.|^transformer_blocks\.\d+\.attn2\.",
    "cross-attention": r"\battn2\.",
    "text stream": r"\battn\.(?:add_|to_add_out|norm_added_)|^context_embedder\.|^time_text_embed\.text_embedder\.",
    "image stream": r"^transformer_blocks\.\d+\.attn\.",
    "attention": r"^single_transformer_blocks\.\d+\.attn\.|\.self_attn\.",
    "feed-forward": r"\.ff(?:_context)?\.|\.proj_mlp\.|\.mlp\.",
    "modulation": r"\bnorm1(?:_context)?\.linear\.|^norm_out\.linear\.|^single_transformer_blocks\.\d+\.norm\.linear\.",
    "projection": r"\.proj_(?:in|out)\.",
    "time": r"time_emb|^time_text_embed\.|add_embedding|class_embedding",
    "resampling": r"samplers\.",
    "norm": r"norm",
    "convolution": r"conv",
    "other": r"",
}
TRANSFORMER = re.compile(r"(single_)?transformer_blocks\.(\d+)\.")
TEXT = re.compile(r"text_encoder(_\d)?\.encoder\.layers\.(\d+)\.")
WRAPPED = "text_model."  # before the names of a text encoder, in some files and some versions of transformers
ENTRIES = {
    "context_embedder": "text in", "time_text_embed.text_embedder": "text in", "pos_embed": "image in", "x_embedder": "image in",
    "time_text_embed": "time", "norm_out": "out", "proj_out": "out",
}  # fmt: skip
BLOCK = re.compile(r"(?:(down|up)_blocks\.(\d+)|(mid)_block|(conv_in)|(conv_norm_out|conv_out)|(time_embedding|add_embedding))\b")


@dataclass(frozen=True)
class Cell:
    """The weights of one type in one block. `scored` of `numel` are in scope; None where nothing is recorded for them.

    `sensitivity`: mean |g w| (Eq. 2). `trimmed`: share reinitialised. `moved`: distance from the original after repair, relative to
    its size; the root mean square over its tensors.
    """

    block: str
    kind: str
    numel: int
    scored: int
    sensitivity: float | None = None
    trimmed: float | None = None
    moved: float | None = None


def read_layers(folder: Path) -> list[Mapping[str, Any]]:
    """The weights of layers.json; empty where a run has none, or the file is not a list of weights."""
    try:
        weights = read_object(folder / "layers.json")["weights"]
        named = [weight for weight in weights if isinstance(weight["name"], str) and int(weight["numel"]) > 0]
        return [{**weight, "name": weight["name"].replace(f".{WRAPPED}", ".")} for weight in named]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def parameters(folder: Path) -> dict[str, int]:
    """Every parameter of the part that a run changed and its size, from the headers of its files; empty before it is written."""
    texts = dict.fromkeys(name.partition(".")[0] for weight in read_layers(folder) if (name := weight["name"]).startswith("text_encoder"))
    sizes: dict[str, int] = {}
    for path in sorted(path for part in texts or PARTS for path in (folder / "model" / part).glob("*.safetensors")):
        before = f"{path.parent.name}." if texts else ""
        with suppress(InputError):
            entries = {name: tensor for name, tensor in header(path)[0].items() if name != "__metadata__"}
            sizes |= {before + (name.removeprefix(WRAPPED) if texts else name): math.prod(t["shape"]) for name, t in entries.items()}
    return sizes


def block_of(name: str) -> str:
    """time, conv in, down 0, ..., middle, up 0, ..., conv out, or block 0, ..., single 0, ..., or text 0, ...; counted as in the names."""
    if layer := TEXT.match(name):
        return f"text{(layer[1] or '').replace('_', '-')} {layer[2]}"
    if inner := TRANSFORMER.match(name):
        return f"{'single' if inner[1] else 'block'} {inner[2]}"
    if entry := next((title for start, title in ENTRIES.items() if name.startswith(f"{start}.")), None):
        return entry
    match = BLOCK.match(name)
    if match is None:
        return name.split(".")[0].replace("_", " ")
    side, number, middle, first, last, _ = match.groups()
    return f"{side} {number}" if side else "middle" if middle else "conv in" if first else "conv out" if last else "time"


def type_of(name: str) -> str:
    """The type of layer of a parameter."""
    return next(kind for kind, pattern in TYPES.items() if re.search(pattern, name))


def cells(weights: Iterable[Mapping[str, Any]], everything: Mapping[str, int]) -> list[Cell]:
    """One for each block and type, in the order in which the signal passes them."""
    recorded = {str(weight["name"]): weight for weight in weights}
    numel = {**{name: int(weight["numel"]) for name, weight in recorded.items()}, **everything}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in numel:
        groups.setdefault((block_of(name), type_of(name)), []).append(name)
    kinds = list(TYPES)
    order = sorted(groups, key=lambda key: (_place(key[0]), kinds.index(key[1])))
    return [_cell(*key, groups[key], recorded, numel) for key in order]


def _cell(block: str, kind: str, names: list[str], recorded: Mapping[str, Mapping[str, Any]], numel: Mapping[str, int]) -> Cell:
    listed = [recorded[name] for name in names if name in recorded]

    def mean(of: str, power: int = 1) -> float | None:
        values = [(int(w["numel"]), float(w[of])) for w in listed if isinstance(w.get(of), int | float) and math.isfinite(w[of])]
        total = sum(n for n, _ in values)
        return (math.fsum(n * value**power for n, value in values) / total) ** (1 / power) if total else None

    whole, scored = sum(numel[name] for name in names), sum(int(w["numel"]) for w in listed)
    return Cell(block, kind, whole, scored, mean("sensitivity"), mean("trimmed"), mean("moved", 2))


def _place(block: str) -> tuple[int, int]:
    side, _, number = block.partition(" ")
    rows = {"time": 0, "conv in": 1, "text in": 1, "image in": 1, "middle": 3, "conv out": 5, "out": 5}
    return rows.get(block, {"down": 2, "block": 2, "up": 4, "single": 4, "text": 2, "text-2": 4}.get(side, 6)), int(
        number
    ) if number.isdecimal() else 0


def summary(cells: Iterable[Cell]) -> list[str]:
    """Where sensitivity, trimming and movement are largest, in sentences."""
    scored = [cell for cell in cells if cell.scored]
    sentences = []
    whole = math.fsum(cell.scored * (cell.sensitivity or 0) for cell in scored)
    if whole:
        best = max(scored, key=lambda cell: cell.sensitivity or 0)
        sentences.append(f"Per weight, the forget prompts depend most on {best.kind} in block {best.block}.")
        by_kind: dict[str, float] = {}
        for cell in scored:
            by_kind[cell.kind] = by_kind.get(cell.kind, 0.0) + cell.scored * (cell.sensitivity or 0)
        kind, part = max(by_kind.items(), key=lambda item: item[1])
        if len(by_kind) > 1:
            sentences.append(f"{100 * part / whole:.0f}% of all sensitivity in scope is in {kind}.")
    trimmed = math.fsum(cell.scored * (cell.trimmed or 0) for cell in scored)
    if trimmed:
        most = max(scored, key=lambda cell: cell.scored * (cell.trimmed or 0))
        share = most.scored * (most.trimmed or 0) / trimmed
        sentences.append(f"{trimmed:,.0f} weights were trimmed, {100 * share:.0f}% of them in {most.kind} of block {most.block}.")
    if moved := [cell for cell in scored if cell.moved is not None]:
        far = max(moved, key=lambda cell: cell.moved or 0)
        sentences.append(f"Farthest from the original is {far.kind} of block {far.block}: {100 * (far.moved or 0):.1f}% of its size.")
    return sentences
