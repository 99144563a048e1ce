"""A line chart as SVG: several series with their spread over one variable (Fig. 2 of the Scissorhands paper). Text in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.rendering.charts import Scale, _element, _finite, _line, _svg, _text, _ticks, _width

SHADES = ("mark", "bad", "good", "ink", "muted")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4")


@dataclass(frozen=True)
class Value:
    """One value of a series: mean and standard deviation of y at x, and where y ends: a bar goes no further."""

    x: float
    mean: float
    std: float = 0.0
    ends: tuple[float, float] = (-math.inf, math.inf)

    @property
    def low(self) -> float:
        return max(self.mean - self.std, self.ends[0])

    @property
    def high(self) -> float:
        return min(self.mean + self.std, self.ends[1])


def lines(series: Mapping[str, Sequence[Value]], title: str, x_title: str, y_title: str, logarithmic: bool = False) -> str:
    """Each series a line with bars of one standard deviation; told apart by dash as well as colour, named on the right."""
    values = [value for found in series.values() for value in found if _finite(value.mean)]
    if not values:
        return _svg(760, 60, f"{title}: no finite values", [_text(20, 34, "no finite values", 13, "muted")])
    left, right, top, bottom = 74.0, 560.0, 34.0, 330.0
    x_of = _scale([v.x for v in values], (left, right), logarithmic)
    y_of = _scale([e for v in values for e in (v.low, v.high)], (bottom, top))
    width = max(760.0, right + 60 + max(_width(name, 12) for name in series))
    parts = [_element("rect", fill="paper", x=0, y=0, width=width, height=400), _text(left, 18, title, 14, "ink")]
    parts += _axes(sorted({v.x for v in values}), values, x_of, y_of, (left, right, top, bottom))
    parts += [_text((left + right) / 2, bottom + 46, x_title, 13, "ink", "middle")]
    middle = (top + bottom) / 2
    parts += [_text(20, middle, y_title, 13, "ink", "middle", transform=f"rotate(-90 20 {middle:g})")]
    for i, (name, found) in enumerate(series.items()):
        parts += _series(name, sorted((v for v in found if _finite(v.mean)), key=lambda v: v.x), i, x_of, y_of, right)
    said = "; ".join(f"{name}: " + ", ".join(f"{v.mean:.2f} at {v.x:g}" for v in found) for name, found in series.items())
    return _svg(width, 400, f"{title}. {said}", parts)


def _scale(values: Sequence[float], places: tuple[float, float], logarithmic: bool = False) -> Scale:
    """Values -> places; a scale of one value has it in the middle."""
    of: Scale = math.log10 if logarithmic and min(values) > 0 else float
    low, high = of(min(values)), of(max(values))
    if high == low:
        low, high = low - 0.5, high + 0.5
    margin = 0.04 * (high - low)
    start, stop = places
    return lambda value: start + (stop - start) * (of(value) - low + margin) / (high - low + 2 * margin)


def _axes(xs: Sequence[float], values: Sequence[Value], x_of: Scale, y_of: Scale, box: tuple[float, float, float, float]) -> list[str]:
    left, right, top, bottom = box
    parts = []
    for x in xs[:: 1 + len(xs) // 9]:
        parts += [_line(x_of(x), top, x_of(x), bottom, "grid"), _text(x_of(x), bottom + 20, f"{x:g}", 12, "muted", "middle")]
    low, high = min(v.low for v in values), max(v.high for v in values)
    for y in _ticks(low, high if high > low else low + 1, 6):
        parts += [_line(left, y_of(y), right, y_of(y), "grid"), _text(left - 8, y_of(y) + 4, f"{y:g}", 12, "muted", "end")]
    return parts


def _series(name: str, found: Sequence[Value], i: int, x_of: Scale, y_of: Scale, right: float) -> list[str]:
    shade, dash = SHADES[i % len(SHADES)], DASHES[(i + i // len(SHADES)) % len(DASHES)]  # 25 series before two look alike
    parts = []
    for v in found:
        parts += [_line(x_of(v.x), y_of(v.low), x_of(v.x), y_of(v.high), shade, 1)] if v.std else []
        parts.append(_element("circle", fill=shade, cx=x_of(v.x), cy=y_of(v.mean), r=3.5))
    drawn = " ".join(f"{x_of(v.x):.1f},{y_of(v.mean):.1f}" for v in found)
    style = {"stroke_dasharray": dash} if dash else {}
    parts.append(_element("polyline", stroke=shade, points=drawn, stroke_width=1.8, **style))
    y = 44.0 + 22 * i
    key = [_element("line", stroke=shade, x1=right + 16, y1=y, x2=right + 44, y2=y, stroke_width=1.8, **style)]
    return [*parts, *key, _text(right + 50, y + 4, name, 12, "ink")]
