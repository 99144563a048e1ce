"""Charts as SVG: the change of counts, values by training step, and a scatter of forgetting against keeping. Drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.rendering.label_places import Rectangle, place_label
from eval.rendering.svg import height_of, is_finite, name_axes, new_axes, new_figure, plain_numbers, svg_of, text_width, write
from eval.rendering.theme import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 300  # of a curve at most; more cannot be distinguished
CAP = 200.0  # percent of growth beyond which a bar is cut off
CROWDED = 24  # labels of a scatter; more would only hide each other


@dataclass(frozen=True)
class Point:
    """A place in a scatter with the ends of its two intervals."""

    label: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def change_bars(counts: Mapping[str, tuple[int, int]], title: str) -> str:
    """A horizontal bar for each label: percentage change from the first count to the second (Figure 3 of the Scissorhands paper).

    A label with nothing before has no percentage and says so. A growth of more than CAP is cut off, with its number beside it.
    """
    changes = {label: 100 * (after - before) / before for label, (before, after) in counts.items() if before}
    top = min(CAP, max([0.0, *changes.values()]))
    left, row = 12 + max((text_width(label, 13) for label in counts), default=0.0), 30
    width, height = max(760.0, left + 450), row * len(counts) + 40
    figure = new_figure(width, height)
    axes = new_axes(figure, (left, width - 150, 4, height - 34))
    axes.set(xlim=(-100, top or 1), ylim=(len(counts) - 0.4, -0.6))
    ticks = range(-100, int(top) + 1, 100 if top > 100 else 50)
    axes.set_xticks(ticks, [_signed(tick) if tick else "0" for tick in ticks])
    axes.set_yticks([])
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, clip_on=False)
    for i, (label, (before, after)) in enumerate(counts.items()):
        y = i + 0.14
        write(axes, left - 8, 4 + (i + 0.74) * (height - 38) / (len(counts) + 0.2), label, size=13, align="right")
        if label not in changes:
            words = f"none before, {after} now" if after else "none before, none now"
            _beside(axes, 0, y, words, "bad" if after else "muted")
            continue
        end = min(changes[label], CAP)
        axes.barh(i, end, 0.6, color=COLOURS["bad" if after > before else "good"], clip_on=False, gid="chart-bar")
        change = _signed(changes[label]) if after != before else "unchanged"
        _beside(axes, max(end, 0), y, f"{change} ({before} → {after})", "ink")
    words = "; ".join(f"{label}: {before} before, {after} after" for label, (before, after) in counts.items())
    return svg_of(figure, f"{title}. {words}")


def _beside(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Text a little right of a place in the units of the axes."""
    right = axes.transData.transform((x, y))[0] + 6
    bottom = axes.transData.transform((x, y))[1]
    axes.text(right, bottom, text, color=COLOURS[colour], fontsize=12, transform=None)


def curve(steps: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str, marked: str = "projected", width: float = 760.0) -> str:
    """One panel per name, `width` pixels wide: its values by step, averaged where steps are many, logarithmic where they span a decade.

    Ticks below show the steps whose `marked` is true. Values that are missing or not finite are left out.
    """
    numbers = [int(step["step"]) for step in steps]
    first, last = min(numbers, default=0), max(numbers, default=1)
    panel, left, right = 150, 64.0, width - 12
    height = panel * len(names) + 48
    figure = new_figure(width, height)
    axes = None
    for i, (name, label) in enumerate(names.items()):
        points = [(int(step["step"]), float(step[name])) for step in steps if is_finite(step.get(name))]
        axes = new_axes(figure, (left, right, i * panel + 26.0, i * panel + 136.0))
        axes.set_xlim(first, max(last, first + 1))
        axes.tick_params(labelbottom=False)
        axes.grid(False, axis="x")
        write(axes, left, i * panel + 17, label, size=13)
        _curve(axes, points)
    marks = new_axes(figure, (left, right, panel * len(names) + 4.0, panel * len(names) + 14.0))
    marks.set(xlim=(first, max(last, first + 1)), ylim=(0, 1), yticks=[])
    marks.grid(False)
    plain_numbers(marks)
    write(marks, left - 8, panel * len(names) + 32, "step", "muted", align="right")
    at = [int(step["step"]) for step in steps if step.get(marked) is True]
    pixel = max(1, last - first) / (right - left)
    places = sorted({round(step / pixel) * pixel for step in at}) if len(at) > right - left else at
    xs = [x for place in places for x in (place, place, math.nan)]
    if xs:
        marks.plot(xs, [0, 1, math.nan] * len(places), color=COLOURS["bad"], linewidth=1, clip_on=False, gid="chart-mark")
    return svg_of(figure, f"{title}. {len(steps)} steps, {marked} at {len(at)} of them (ticks at the bottom).")


def _curve(axes: Axes, points: Sequence[tuple[int, float]]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    values = [value for _, value in points]
    if not values:
        axes.set_yticks([])
        axes.text(0.0, 0.5, "no finite values", color=COLOURS["muted"], fontsize=12, transform=axes.transAxes)
        return
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 10
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    if logarithmic:
        axes.set_yscale("log")
    axes.set_ylim(low, high)
    plain_numbers(axes)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8) if logarithmic else MaxNLocator(4))
    xs, ys = zip(*_thinned(points), strict=True)
    axes.plot(xs, ys, color=COLOURS["mark"], linewidth=1.6, clip_on=False, gid="chart-curve")


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most POINTS of them: means of equally many neighbours."""
    size = math.ceil(len(points) / POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(step for step, _ in part) / len(part), math.fsum(value for _, value in part) / len(part)) for part in parts]


def scatter(points: Sequence[Point], title: str, x_title: str, y_title: str) -> str:
    """Points in percent with their intervals as thin crosses; labels hide neither one another nor the crosses.

    The axes begin at the ten below the lowest interval.
    """
    figure = new_figure(760, 560)
    axes = new_axes(figure, (74.0, 716.0, 30.0, 484.0))
    axes.set(xlim=_ends(point.x_range for point in points), ylim=_ends(point.y_range for point in points))
    name_axes(axes, x_title, y_title)
    taken: list[Rectangle] = []
    for point in points:
        taken += cross(axes, (point.x, point.y), point.x_range, point.y_range, "mark")
    for point in points:
        axes.plot([point.x], [point.y], "o", color=COLOURS["mark"], markersize=10, clip_on=False, markeredgewidth=0, gid="chart-point")
    for point in points[:CROWDED]:
        label(axes, point.label, (point.x, point.y), taken, (760, 500))
    words = "; ".join(f"{point.label}: {point.x:.1f}, {point.y:.1f}" for point in points)
    return svg_of(figure, f"{title}. {words}")


def cross(axes: Axes, at: tuple[float, float], x_range: tuple[float, float], y_range: tuple[float, float], colour: str) -> list[Rectangle]:
    """The two intervals of a point, cut off at the ends of the axes; returns the pixels that they and the point cover."""
    (x1, x2), (y1, y2) = ([min(max(end, low), high) for end in ends] for ends, (low, high) in (
        (x_range, axes.get_xlim()), (y_range, axes.get_ylim())
    ))  # fmt: skip
    for xs, ys in (((x1, x2), (at[1], at[1])), ((at[0], at[0]), (y1, y2))):
        axes.plot(xs, ys, color=COLOURS[colour], linewidth=1, clip_on=False, gid="chart-interval")
    x, y = pixel_of(axes, *at)
    (left, bottom), (right, top) = pixel_of(axes, x1, y1), pixel_of(axes, x2, y2)
    return [Rectangle(x - 7, y - 7, x + 7, y + 7), Rectangle(left, y - 1, right, y + 1), Rectangle(x - 1, top, x + 1, bottom)]


def label(
    axes: Axes, text: str, at: tuple[float, float], taken: list[Rectangle], frame: tuple[float, float], left_first: bool = False
) -> None:
    """The name of a point where it hides nothing, with a line to the point where it is not beside it; no name without room."""
    x, y = pixel_of(axes, *at)
    place = place_label(text, x, y, taken, frame, left_first)
    if place is None:
        return
    height = height_of(axes)
    if place.shift:
        axes.plot(
            [x, place.near], [height - y, height - place.middle], color=COLOURS["muted"], linewidth=0.8, transform=None, clip_on=False
        )
    write(axes, place.left, place.middle + 4, text)


def pixel_of(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A place of the axes in pixels from the upper left corner of the figure."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(height_of(axes) - up)


def _ends(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Of an axis in percent that holds them all, up to twice 100."""
    both = list(intervals)
    low = min((low for low, _ in both), default=0.0)
    return max(0.0, min(90.0, 10 * math.floor((low - 2) / 10))), max([100.0, *(min(high, 200.0) for _, high in both)])


def _signed(percent: float) -> str:
    return f"{percent:+.0f} %".replace("-", "−")
