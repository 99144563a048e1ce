"""Charts as SVG: change per body part, ranges on a scale, training curves, and a scatter. Text in, text out.

Knows no reports and no files. Colours stand twice: as attributes, so that a chart is right in any viewer, and as classes
(f-NAME fills, s-NAME strokes), so that a page's style sheet can give them those of a dark scheme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from eval.rendering.theme import COLOURS, FONT

LETTER = 0.56  # width of a letter, on average, in font sizes
POINTS = 300  # of a curve at most; more cannot be told apart
CAP = 200.0  # percent of growth beyond which a bar is cut off
CROWDED = 24  # labels of a scatter; with more, they would only hide each other

Box = tuple[float, float, float, float]
Scale = Callable[[float], float]


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
    left, right, row = 12 + max((_width(label, 13) for label in counts), default=0.0), 150.0, 30
    unit = (760 - left - right) / (100 + top)
    zero, height = left + 100 * unit, row * len(counts) + 40
    parts = []
    for tick in range(-100, int(top) + 1, 50):
        x = zero + tick * unit
        parts.append(_line(x, 4, x, height - 34, "muted" if tick == 0 else "grid"))
        parts.append(_text(x, height - 16, _signed(tick) if tick else "0", 12, "muted", "middle"))
    for i, (label, (before, after)) in enumerate(counts.items()):
        y = 6 + i * row
        parts.append(_text(left - 8, y + 16, label, 13, "ink", "end"))
        if label not in changes:
            parts.append(
                _text(zero + 6, y + 16, f"none before, {after} now" if after else "none before, none now", 12, "bad" if after else "muted")
            )
            continue
        end = zero + min(changes[label], CAP) * unit
        x, width = min(zero, end), max(abs(end - zero), 1.5)
        parts.append(_element("rect", fill="bad" if after > before else "good", x=x, y=y + 3, width=width, height=row - 12, rx=2))
        shown = _signed(changes[label]) if after != before else "unchanged"
        parts.append(_text(max(end, zero) + 6, y + 16, f"{shown} ({before} → {after})", 12, "ink"))
    said = "; ".join(f"{label}: {before} before, {after} after" for label, (before, after) in counts.items())
    return _svg(760, height, f"{title}. {said}", parts)


def ranges(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, low: float = 0, high: float = 100) -> str:
    """Two values with their intervals on one small scale, the original above and hollow, the erased below and filled."""
    parts = [_line(8, 24, 152, 24, "grid"), *(_line(x, 20, x, 28, "grid") for x in (8, 80, 152))]
    for metric, y, fill, colour in ((before, 13.0, "paper", "muted"), (after, 35.0, "mark", "mark")):
        if metric is None:
            continue
        x, start, end = (8 + 144 * (_clipped(metric[name], low, high) - low) / (high - low) for name in ("value", "low", "high"))
        parts.append(_line(start, y, end, y, colour, 2.5))
        parts.append(_element("circle", fill=fill, stroke=colour, cx=x, cy=y, r=4.5, stroke_width=2))
    return _svg(160, 48, "", parts)


def curve(steps: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str, marked: str = "projected") -> str:
    """One panel a name: its values by step, averaged where steps are many, logarithmic where they span a decade.

    Ticks below show the steps whose `marked` is true. Values that are missing or not finite are left out.
    """
    last = max((int(step["step"]) for step in steps), default=1)
    panel, left, right = 150, 64.0, 748.0
    height = panel * len(names) + 48
    first = min((int(step["step"]) for step in steps), default=0)

    def place(step: float) -> float:
        return left + (right - left) * (step - first) / max(1, last - first)

    parts = []
    for i, (name, label) in enumerate(names.items()):
        points = [(int(step["step"]), float(step[name])) for step in steps if _finite(step.get(name))]
        parts += _panel(points, label, i * panel + 26.0, panel - 40.0, (left, right), place)
    bottom = panel * len(names) + 4.0
    seen = sorted({round(place(int(step["step"])), 1) for step in steps if step.get(marked) is True})
    parts += [_line(x, bottom, x, bottom + 10, "bad", 1) for x in seen]
    for tick in _ticks(first, last, 6):
        parts.append(_text(place(tick), bottom + 28, f"{tick:g}", 12, "muted", "middle"))
    parts.append(_text(left - 8, bottom + 28, "step", 12, "muted", "end"))
    count = sum(step.get(marked) is True for step in steps)
    return _svg(760, height, f"{title}. {len(steps)} steps, {marked} at {count} of them (ticks at the bottom).", parts)


def scatter(points: Sequence[Point], title: str, x_title: str, y_title: str) -> str:
    """Points in percent with their intervals as thin crosses; labels hide neither one another nor the crosses.

    The axes begin at the ten below the lowest interval.
    """
    left, right, top, bottom = 74.0, 716.0, 30.0, 484.0
    x_ends, y_ends = _ends(point.x_range for point in points), _ends(point.y_range for point in points)
    x_of, y_of = _scale(x_ends, (left, right)), _scale(y_ends, (bottom, top))
    parts = [_element("rect", fill="paper", x=0, y=0, width=760, height=560)]
    for tick in _ticks(*x_ends, 6):
        parts += [_line(x_of(tick), top, x_of(tick), bottom, "grid"), _text(x_of(tick), bottom + 20, f"{tick:g}", 12, "muted", "middle")]
    for tick in _ticks(*y_ends, 6):
        parts += [_line(left, y_of(tick), right, y_of(tick), "grid"), _text(left - 8, y_of(tick) + 4, f"{tick:g}", 12, "muted", "end")]
    parts.append(_text((left + right) / 2, bottom + 48, x_title, 13, "ink", "middle"))
    middle = (top + bottom) / 2
    parts.append(_text(22, middle, y_title, 13, "ink", "middle", transform=f"rotate(-90 22 {middle:g})"))
    taken: list[Box] = []
    for point in points:
        x, y = x_of(point.x), y_of(point.y)
        (x1, x2), (y2, y1) = map(x_of, point.x_range), map(y_of, point.y_range)
        parts += [_line(x1, y, x2, y, "mark", 1), _line(x, y1, x, y2, "mark", 1)]
        taken += [(x - 6, y - 6, x + 6, y + 6), (x1, y - 1, x2, y + 1), (x - 1, y1, x + 1, y2)]
    parts += [_element("circle", fill="mark", cx=x_of(p.x), cy=y_of(p.y), r=5) for p in points]
    for point in points[:CROWDED]:
        parts += _label(point.label, x_of(point.x), y_of(point.y), taken, (760, 500))
    said = "; ".join(f"{point.label}: {point.x:.1f}, {point.y:.1f}" for point in points)
    return _svg(760, 560, f"{title}. {said}", parts)


def _ends(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Of an axis in percent that holds them all, up to twice 100."""
    both = list(intervals)
    low = min((low for low, _ in both), default=0.0)
    return max(0.0, min(90.0, 10 * math.floor((low - 2) / 10))), max([100.0, *(min(high, 200.0) for _, high in both)])


def _scale(ends: tuple[float, float], places: tuple[float, float]) -> Scale:
    (low, high), (start, stop) = ends, places
    return lambda value: start + (stop - start) * (_clipped(value, low, high) - low) / (high - low)


def _panel(
    points: Sequence[tuple[int, float]], label: str, top: float, height: float, sides: tuple[float, float], place: Scale
) -> list[str]:
    values = [value for _, value in points]
    parts = [_text(sides[0], top - 9, label, 13, "ink")]
    if not values:
        return [*parts, _text(sides[0], top + height / 2, "no finite values", 12, "muted")]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 10
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    scale: Scale = math.log10 if logarithmic else float

    def y_of(value: float) -> float:
        return top + height * (1 - (scale(value) - scale(low)) / (scale(high) - scale(low)))

    ticks = [t for e in range(-12, 13) for t in (10.0**e, 3 * 10.0**e) if low <= t <= high] if logarithmic else _ticks(low, high, 4)
    for tick in ticks[:: 1 + len(ticks) // 6]:
        parts += [
            _line(sides[0], y_of(tick), sides[1], y_of(tick), "grid"),
            _text(sides[0] - 8, y_of(tick) + 4, f"{tick:.3g}", 12, "muted", "end"),
        ]
    drawn = " ".join(f"{place(step):.1f},{y_of(value):.1f}" for step, value in _thinned(points))
    return [*parts, _element("polyline", stroke="mark", points=drawn, stroke_width=1.6, stroke_linejoin="round")]


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most POINTS of them: means of equally many neighbours."""
    size = math.ceil(len(points) / POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(step for step, _ in part) / len(part), math.fsum(value for _, value in part) / len(part)) for part in parts]


def _label(text: str, x: float, y: float, taken: list[Box], frame: tuple[float, float], left_first: bool = False) -> list[str]:
    """Where it hides nothing: right of the point or left of it, else ever further above or below, with a line to the point."""
    wide = _width(text, 12)
    for shift in sorted(range(-600, 601, 15), key=abs):
        for start in (x - 10 - wide, x + 10) if left_first else (x + 10, x - 10 - wide):
            box = (start, y + shift - 8, start + wide, y + shift + 7)
            inside = box[0] >= 2 and box[2] <= frame[0] - 2 and box[1] >= 2 and box[3] <= frame[1] - 18
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                near = box[0] if start > x else box[2]
                return [*([_line(x, y, near, y + shift, "muted", 0.8)] if shift else []), _text(start, y + shift + 4, text, 12, "ink")]
    return []  # no room at all: the table has it


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from low to high."""
    rough = (high - low) / max(1, count) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _signed(percent: float) -> str:
    return f"{percent:+.0f} %".replace("-", "−")


def _width(text: str, size: float) -> float:
    return LETTER * size * len(text)


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return _element("line", stroke=colour, x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=width)


def _text(x: float, y: float, text: str, size: float, colour: str, anchor: str = "start", **more: str) -> str:
    return _element("text", text, fill=colour, x=x, y=y, font_size=size, text_anchor=anchor, **more)


def _element(tag: str, text: str = "", fill: str = "", stroke: str = "", **attributes: float | str) -> str:
    classes = " ".join([*([f"f-{fill}"] if fill else []), *([f"s-{stroke}"] if stroke else [])])
    colours = {"class": classes, "fill": COLOURS[fill] if fill else "none"} | ({"stroke": COLOURS[stroke]} if stroke else {})
    shown = {
        **colours,
        **{name.replace("_", "-"): f"{value:.5g}" if isinstance(value, int | float) else value for name, value in attributes.items()},
    }
    inside = "".join(f' {name}="{escape(value)}"' for name, value in shown.items())
    return f"<{tag}{inside}>{_said(text)}</{tag}>" if text else f"<{tag}{inside}/>"


def _said(text: str) -> str:
    """Escaped, without the control characters that XML forbids."""
    return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "", text))


def _svg(width: float, height: float, said: str, parts: Iterable[str]) -> str:
    """The drawing, and what a screen reader says of it; with nothing to say it is hidden from those."""
    label = f'role="img" aria-label="{_said(said)}"' if said else 'aria-hidden="true"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'{head} {label} font-family="{escape(FONT)}">{"".join(parts)}</svg>\n'
