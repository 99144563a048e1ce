"""The UNet as a heat map in SVG: one column per block in the shape of a U, in it one cell per type of layer.

Colours are those of `eval.rendering.charts`, as attributes and as classes, so that a style sheet can give them a dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from eval.rendering.theme import COLOURS, FONT
from ui.web.inside.layers import Cell

METRICS = {  # field of a Cell -> its label, whether its scale is logarithmic, and the format of its numbers
    "sensitivity": ("Connection sensitivity, mean |g·w|", True, "{:.2g}"),
    "trimmed": ("Share trimmed", False, "{:.2%}"),
    "moved": ("Distance from the original, relative", False, "{:.2%}"),
}
NAMES = {
    "self-attention": "self-attn",
    "cross-attention": "cross-attn",
    "feed-forward": "feed-fwd",
    "projection": "projection",
    "time": "time",
    "resampling": "resample",
    "norm": "norm",
    "convolution": "conv",
}
WIDE, HIGH, GAP, STEP, TOP = 84.0, 21.0, 12.0, 34.0, 64.0
FAINT, STRONG = 0.08, 0.7  # opacity of the smallest value, and from where on the letters are light


def unet_map(cells: Sequence[Cell], metric: str, title: str) -> str:
    """The network with each cell as dark as its value; dashed where the weights are out of scope, or nothing is recorded."""
    blocks = list(dict.fromkeys(cell.block for cell in cells))
    depth = _depths(blocks)
    columns = {block: [cell for cell in cells if cell.block == block] for block in blocks}
    values = [value for cell in cells if (value := getattr(cell, metric)) is not None]
    shade = _shade(values, METRICS[metric][1])
    parts = _links(blocks, depth)
    for i, block in enumerate(blocks):
        x, y = GAP + i * (WIDE + GAP), TOP + STEP * depth[block]
        parts.append(_text(x + WIDE / 2, y - 8, block, 13, "ink", "middle", "600"))
        for k, cell in enumerate(columns[block]):
            parts.append(_cell(cell, metric, x, y + k * HIGH, shade))
    height = max((TOP + STEP * depth[block] + HIGH * len(columns[block]) for block in blocks), default=TOP) + 16
    width = GAP + max(1, len(blocks)) * (WIDE + GAP)
    parts += _legend(metric, values, title)
    label = escape(f"{title}: {METRICS[metric][0]} by block and type of layer; the table below has every number")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'{head} role="img" aria-label="{label}" font-family="{escape(FONT)}">{"".join(parts)}</svg>'


def formatted(metric: str, value: float | None) -> str:
    """A value of a cell as text."""
    return "–" if value is None else METRICS[metric][2].format(value)


def _depths(blocks: Sequence[str]) -> dict[str, int]:
    """The level of each block in the U: one further down for each on the way in, and back up."""
    down, up = ([block for block in blocks if block.startswith(side)] for side in ("down", "up"))
    levels = max(len(down), len(up))
    levels_of = {block: i for i, block in enumerate(down)} | {block: levels - 1 - i for i, block in enumerate(up)}
    return {block: levels_of.get(block, levels if block == "middle" else 0) for block in blocks}


def _links(blocks: Sequence[str], depth: dict[str, int]) -> list[str]:
    """Skip connections, from each block on the way down to that of the same level on the way up."""
    parts = []
    for block in (block for block in blocks if block.startswith("down")):
        other = next((o for o in blocks if o.startswith("up") and depth[o] == depth[block]), None)
        if other is not None:
            x1, x2 = GAP + (blocks.index(block) + 1) * (WIDE + GAP) - GAP, GAP + blocks.index(other) * (WIDE + GAP)
            y = TOP + STEP * depth[block] + 8
            parts.append(_shape("line", "s-grid", "none", COLOURS["grid"], x1=x1 + 3, y1=y, x2=x2 - 3, y2=y, stroke_dasharray="3 4"))
    return parts


def _cell(cell: Cell, metric: str, x: float, y: float, shade: Callable[[float], float]) -> str:
    value = getattr(cell, metric)
    words = [f"{cell.block}, {cell.kind}", f"{cell.numel:,} weights, {cell.scored:,} in scope"]
    words += [f"{METRICS[name][0]}: {formatted(name, getattr(cell, name))}" for name in METRICS]
    box = {"x": x, "y": y, "width": WIDE, "height": HIGH - 2, "rx": 3}
    if value is None:
        box_svg = _shape("rect", "s-grid", "none", COLOURS["grid"], **box, stroke_dasharray="2 3")
        name = _text(x + WIDE / 2, y + 14, NAMES.get(cell.kind, cell.kind), 11, "muted", "middle")
    else:
        strength = shade(value)
        box_svg = _shape("rect", "f-mark", COLOURS["mark"], "", **box, fill_opacity=strength)
        name = _text(x + WIDE / 2, y + 14, NAMES.get(cell.kind, cell.kind), 11, "paper" if strength > STRONG else "ink", "middle")
    return f"<g><title>{escape('; '.join(words))}</title>{box_svg}{name}</g>"


def _shade(values: Sequence[float], logarithmic: bool) -> Callable[[float], float]:
    """Value -> opacity."""
    low, high = _ends(values, logarithmic)
    scale = math.log if logarithmic and low > 0 else float

    def shade(value: float) -> float:
        if high <= low:
            return 1.0 if value else FAINT
        return FAINT + (1 - FAINT) * max(0.0, min(1.0, (scale(max(value, low)) - scale(low)) / (scale(high) - scale(low))))

    return shade


def _ends(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Of the scale: from the smallest value that is not 0 where it is logarithmic, else from 0."""
    above = [value for value in values if value > 0]
    if not above:
        return 0.0, 0.0
    return (max(min(above), max(above) / 1e4) if logarithmic else 0.0), max(above)


def _legend(metric: str, values: Sequence[float], title: str) -> list[str]:
    name, logarithmic, form = METRICS[metric]
    low, high = _ends(values, logarithmic)
    parts = [_text(GAP, 18, name, 13, "ink", "start", "600")]
    if not values:
        return [*parts, _text(GAP, 36, "not recorded for this run", 12, "muted")]
    steps = [FAINT + (1 - FAINT) * i / 11 for i in range(12)]
    parts += [
        _shape("rect", "f-mark", COLOURS["mark"], "", x=GAP + 8 * i, y=26, width=8, height=10, fill_opacity=s) for i, s in enumerate(steps)
    ]
    scale = f"{form.format(low)} to {form.format(high)}{', logarithmic' if logarithmic and high > low else ''}; dashed: out of scope"
    return [*parts, _text(GAP + 106, 35, scale, 12, "muted")]


def _text(x: float, y: float, words: str, size: float, colour: str, anchor: str = "start", weight: str = "400") -> str:
    where = f'x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text class="f-{colour}" fill="{COLOURS[colour]}" {where}>{escape(words)}</text>'


def _shape(tag: str, css: str, fill: str, stroke: str, **attributes: float | str) -> str:
    values = {name.replace("_", "-"): f"{value:.4g}" if isinstance(value, float) else value for name, value in attributes.items()}
    text = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f'<{tag} class="{css}" fill="{fill}"' + (f' stroke="{stroke}"' if stroke else "") + f" {text}/>"
