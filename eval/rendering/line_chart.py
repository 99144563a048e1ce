"""A line chart as SVG: several series with their spread over one variable (Fig. 2 of the Scissorhands paper). Drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.rendering.svg import height_of, is_finite, name_axes, new_axes, new_figure, plain_numbers, svg_of, text_width, write
from eval.rendering.theme import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = ("mark", "bad", "good", "ink", "muted")
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 4), (2, 3), (9, 3, 2, 3), (14, 4))  # drawn and left out, in pixels
WIDTH = 1.8  # of a line


@dataclass(frozen=True)
class Value:
    """One value of a series: mean and standard deviation of y at x, and the ends of y, beyond which no bar goes."""

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


def lines(
    series: Mapping[str, Sequence[Value]],
    title: str,
    x_title: str,
    y_title: str,
    logarithmic: bool = False,
    levels: Mapping[str, float] | None = None,
) -> str:
    """One line per series with bars of one standard deviation; distinguished by dash as well as colour, named on the right.

    `levels`: for some series a value to compare with, drawn as a thin horizontal line in the colour and dash of the series.
    """
    known = {name: level for name, level in (levels or {}).items() if name in series and is_finite(level)}
    values = [value for points in series.values() for value in points if is_finite(value.mean)]
    if not values:
        return _empty(title)
    left, right, top, bottom = 74.0, 560.0, 34.0, 330.0
    figure = new_figure(max(760.0, right + 60 + max(text_width(name, 12) for name in series)), max(400.0, 44 + 22 * len(series)))
    axes = new_axes(figure, (left, right, top, bottom))
    _scale(axes, [*values, *(Value(values[0].x, level) for level in known.values())], logarithmic)
    name_axes(axes, x_title, y_title)
    write(axes, left, 18, title, size=14)
    for i, (name, points) in enumerate(series.items()):
        style = _style(i)
        if name in known:
            axes.axhline(known[name], gid="chart-level", **{**style, "linewidth": 0.8})
        _series(axes, sorted((v for v in points if is_finite(v.mean)), key=lambda v: v.x), style)
        y = 44 + 22 * i
        axes.plot([right + 16, right + 44], [height_of(axes) - y] * 2, transform=None, clip_on=False, gid="chart-key", **style)
        write(axes, right + 50, y + 4, name)
    words = "; ".join(f"{name}: " + ", ".join(f"{v.mean:.2f} at {v.x:g}" for v in points) for name, points in series.items())
    words += "".join(f"; level of {name}: {level:.2f}" for name, level in known.items())
    return svg_of(figure, f"{title}. {words}")


def _empty(title: str) -> str:
    figure = new_figure(760, 60)
    axes = new_axes(figure, (0, 760, 0, 60))
    axes.set_axis_off()
    write(axes, 20, 34, "no finite values", "muted", 13)
    return svg_of(figure, f"{title}: no finite values")


def _style(i: int) -> dict[str, Any]:
    """Colour and dash of a series: 25 of them before two look alike."""
    dashes = DASHES[(i + i // len(SHADES)) % len(DASHES)]
    style: dict[str, Any] = {"color": COLOURS[SHADES[i % len(SHADES)]], "linewidth": WIDTH}
    return {**style, "dashes": [length / WIDTH for length in dashes]} if dashes else style


def _scale(axes: Axes, values: Sequence[Value], logarithmic: bool) -> None:
    """Axes that hold all values with a margin; one value is in the middle, unless that would leave the ends of y."""
    from matplotlib.ticker import MaxNLocator

    xs = sorted({v.x for v in values})
    if logarithmic and xs[0] > 0:
        axes.set_xscale("log")
        factor = (xs[-1] / xs[0]) ** 0.04 if len(xs) > 1 else 10
        axes.set_xlim(xs[0] / factor, xs[-1] * factor)
    else:
        margin = 0.04 * (xs[-1] - xs[0]) or abs(xs[0]) or 1.0
        axes.set_xlim(xs[0] - margin, xs[-1] + margin)
    low, high = min(v.low for v in values), max(v.high for v in values)
    margin = 0.04 * (high - low) or abs(low) or 1.0
    least, most = min(v.ends[0] for v in values), max(v.ends[1] for v in values)
    beyond = 0.04 * (most - least) if math.isfinite(most - least) else 0.0
    axes.set_ylim(max(low - margin, least - beyond), min(high + margin, most + beyond))
    plain_numbers(axes)
    axes.set_xticks(xs[:: 1 + len(xs) // 9])
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _series(axes: Axes, points: Sequence[Value], style: Mapping[str, Any]) -> None:
    colour = style["color"]
    for v in points:
        if v.std:
            axes.plot([v.x, v.x], [v.low, v.high], color=colour, linewidth=1, clip_on=False, gid="chart-spread")
        axes.plot([v.x], [v.mean], "o", color=colour, markersize=7, markeredgewidth=0, clip_on=False, gid="chart-point")
    axes.plot([v.x for v in points], [v.mean for v in points], clip_on=False, gid="chart-series", **style)
