"""Pictures of a bench as SVG: forgetting against keeping, what the neighbours became, and relearning. Text in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.bench.results import RETRAIN
from eval.bench.summary import BASELINES
from eval.rendering.charts import Box, Scale, _element, _label, _line, _scale, _svg, _text, _ticks, _width
from eval.rendering.line_chart import Value, lines

Row = Mapping[str, Any]
Table = Mapping[str, Mapping[str, int]]

CELL, GUTTER = 26, 8  # of a confusion
SEEDS, PICTURES = "one standard deviation over seeds", "95 % interval of the pictures, for one seed"
ZOOM = 85.0  # where both are at least this, a second panel looks closer
NEAR = 30  # pixels: of two points so near, the left one is named on the left


def scatter(rows: Sequence[Row], title: str) -> str:
    """ua against kept, a point a row with bars of one deviation over seeds, or where there is one seed with the pictures' 95 %
    interval; filled where no other row is better in both.

    Where several rows crowd in the corner that all aim for, a second panel shows it larger. Empty if no row has both.
    """
    shown = [row for row in rows if "ua" in row and "kept" in row and row["label"] != "original"]
    if not shown:
        return ""
    near = [row for row in shown if min(row["ua"]["mean"], row["kept"]["mean"]) >= ZOOM]
    near = near if 1 < len(near) < len(shown) else []
    ends = [_ends(shown, "kept", 90.0), _ends(shown, "ua", 90.0)]
    whole = _panel(shown, (74.0, 500.0, 44.0, 470.0), ends[0], ends[1], near)
    wide = 530.0
    if near:
        closer = [_ends(near, "kept"), _ends(near, "ua")]
        whole += _panel(near, (600.0, 1006.0, 44.0, 470.0), closer[0], closer[1], margin=148.0)
        whole += _frame(ends, closer, (74.0, 500.0, 44.0, 470.0))
        whole += [_text(600, 30, "the framed corner, larger", 13, "muted")]
        wide = 1160.0  # names of what is best stand right of it
    key = [
        _text(74, 30, f"a point a method; bars: {SEEDS if _seeds(shown) else PICTURES}", 13, "muted"),
        _mark("front", 80, 536), _text(94, 540, "no other is better in both", 12, "ink"),
        _mark("behind", 272, 536), _text(286, 540, "another is better in both", 12, "ink"),
    ]  # fmt: skip
    key += [_mark(RETRAIN, 464, 536), _text(478, 540, "retrained", 12, "ink")] if any(row["label"] == RETRAIN for row in shown) else []
    said = "; ".join(f"{row['label']}: {row['kept']['mean']:.1f} kept, {row['ua']['mean']:.1f} forgotten" for row in shown)
    return _svg(wide, 556, f"{title}. {said}", [_element("rect", fill="paper", x=0, y=0, width=wide, height=556), *whole, *key])


def confusion(table: Table, title: str, concept: str) -> str:
    """A cell for each thing asked (a line) and seen (a column): the share of the line's pictures, in percent.

    What was asked and seen is outlined in green; the concept's own line, which should be empty there, in red.
    """
    labels = sorted({label for asked, counts in table.items() for label in (asked, *counts)}, key=_order(table))
    left = max(_width(label, 12) for label in labels) + 2 * GUTTER
    foot = max(_width(label, 12) for label in labels) + 14
    parts = [_text(0, 16, title, 13, "ink")]
    for i, asked in enumerate(labels):
        y = 28 + CELL * i
        parts.append(_text(left - 8, y + CELL / 2 + 4, asked, 12, "bad" if asked == concept else "ink", "end"))
        counts = table.get(asked, {})
        n = sum(counts.values())
        for k, found in enumerate(labels):
            parts += _cell(left + CELL * k, y, 100 * counts.get(found, 0) / n if n else None, asked == found, asked == concept)
    bottom = 28 + CELL * len(labels) + 8
    for k, found in enumerate(labels):
        x = left + CELL * k + CELL / 2 + 4
        turn = f"rotate(-90 {x:g} {bottom:g})"
        parts.append(_text(x, bottom, found, 12, "bad" if found == concept else "ink", "end", transform=turn))
    said = "; ".join(f"{asked}: " + ", ".join(f"{label} {n}" for label, n in counts.items()) for asked, counts in table.items())
    width = max(left + CELL * len(labels) + 4, _width(title, 13) + 8)
    return _svg(width, bottom + foot, f"{title}. {said}", parts)


def curves(rows: Sequence[Row]) -> str:
    """How much of the concept is drawn after so many steps of relearning, a line a method; empty where nobody relearned."""
    series = {}
    for row in rows:
        if curve := row.get("relearn"):
            found = zip(curve["steps"], curve["mean"], curve["std"], strict=True)
            series[row["label"]] = [Value(float(step), mean, std, (0.0, 100.0)) for step, mean, std in found]
    return lines(series, "Relearning: pictures that show the concept", "steps of fine-tuning on the forget set", "%") if series else ""


def _order(table: Table) -> Any:
    """As the table has its lines, then the rest by name."""
    first = list(table)
    return lambda label: (first.index(label) if label in first else len(first), label)


def _cell(x: float, y: float, share: float | None, same: bool, concept: bool) -> list[str]:
    """One share: the fuller, the darker."""
    if share is None:
        return [_element("rect", stroke="grid", x=x, y=y, width=CELL - 2, height=CELL - 2, rx=2, stroke_dasharray="2 3")]
    colour = ("bad" if concept else "good") if same else ("mark" if concept else "bad")
    box: dict[str, Any] = {"x": x, "y": y, "width": CELL - 2, "height": CELL - 2, "rx": 2}
    parts = [_element("rect", fill="grid", **box, fill_opacity=0.35)]
    parts += [_element("rect", fill=colour, **box, fill_opacity=round(0.1 + 0.8 * share / 100, 3))] if share else []
    parts += [_element("rect", stroke=colour, **box, stroke_width=1.2)] if same else []
    shade = "paper" if share > 55 else "ink"
    return [*parts, _text(x + CELL / 2 - 1, y + CELL / 2 + 3, f"{share:.0f}", 10, shade, "middle")] if share >= 0.5 else parts


def _seeds(rows: Sequence[Row]) -> bool:
    return any(row["seeds"] > 1 for row in rows)


def _range(row: Row, name: str) -> tuple[float, float]:
    """The ends of a row's bar."""
    mean, std = row[name]["mean"], row[name]["std"]
    if row["seeds"] > 1 or name not in row.get("interval", {}):
        return mean - std, mean + std
    return row["interval"][name]["low"], row["interval"][name]["high"]


def _ends(rows: Sequence[Row], name: str, most: float = 100.0) -> tuple[float, float]:
    """Of an axis that holds all of them with their bars, from `most` on downwards at least."""
    low, high = (end(_range(row, name)[k] for row in rows) for k, end in ((0, min), (1, max)))
    step = 10 if high - low > 20 else 2
    low = max(0.0, min(most, step * math.floor((low - 0.1 * step) / step)))
    return low, max(100.0, min(high, 130.0)) + 0.02 * (100 - low)


def _frame(ends: Sequence[tuple[float, float]], closer: Sequence[tuple[float, float]], box: Box) -> list[str]:
    """Around that part of the first panel which the second shows."""
    left, right, top, bottom = box
    x_of, y_of = _scale(ends[0], (left, right)), _scale(ends[1], (bottom, top))
    (x1, x2), (y2, y1) = map(x_of, closer[0]), map(y_of, closer[1])
    return [_element("rect", stroke="muted", x=x1, y=y1, width=x2 - x1, height=y2 - y1, stroke_dasharray="4 3")]


def _panel(
    rows: Sequence[Row],
    box: Box,
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    unnamed: Sequence[Row] = (),
    margin: float = 28.0,
) -> list[str]:
    """Axes, points and their names; those that a closer look names are not named here."""
    left, right, top, bottom = box
    x_of, y_of = _scale(x_ends, (left, right)), _scale(y_ends, (bottom, top))
    parts = []
    for tick in _ticks(*x_ends, 6):
        parts += [_line(x_of(tick), top, x_of(tick), bottom, "grid"), _text(x_of(tick), bottom + 18, f"{tick:g}", 12, "muted", "middle")]
    for tick in _ticks(*y_ends, 6):
        parts += [_line(left, y_of(tick), right, y_of(tick), "grid"), _text(left - 8, y_of(tick) + 4, f"{tick:g}", 12, "muted", "end")]
    parts.append(_text((left + right) / 2, bottom + 40, "kept: smaller of ira and cra, % of the original", 13, "ink", "middle"))
    middle = (top + bottom) / 2
    parts.append(_text(left - 44, middle, "forgotten: ua, %", 13, "ink", "middle", transform=f"rotate(-90 {left - 44:g} {middle:g})"))
    taken: list[Box] = []
    for row in rows:
        parts += _cross(row, x_of, y_of, taken)
    for row in rows:
        x, y = x_of(row["kept"]["mean"]), y_of(row["ua"]["mean"])
        parts.append(_mark(RETRAIN if row["label"] in BASELINES else "front" if row.get("front") else "behind", x, y))
    places = [(x_of(row["kept"]["mean"]), y_of(row["ua"]["mean"])) for row in rows]
    for (x, y), row in sorted(zip(places, rows, strict=True), key=lambda one: one[0], reverse=True):
        if row not in unnamed:
            right_of_it = any(0 < other - x < NEAR and abs(height - y) < NEAR for other, height in places)
            parts += _label(row["label"], x, y, taken, (right + margin, bottom + 16), left_first=right_of_it)
    return parts


def _cross(row: Row, x_of: Scale, y_of: Scale, taken: list[Box]) -> list[str]:
    """The bars; what they cover is taken."""
    kept, ua = row["kept"], row["ua"]
    x, y = x_of(kept["mean"]), y_of(ua["mean"])
    (x1, x2), (y2, y1) = map(x_of, _range(row, "kept")), map(y_of, _range(row, "ua"))
    taken += [(x - 7, y - 7, x + 7, y + 7), (x1, y - 1, x2, y + 1), (x - 1, y1, x + 1, y2)]
    return [_line(x1, y, x2, y, "muted", 1), _line(x, y1, x, y2, "muted", 1)]


def _mark(kind: str, x: float, y: float) -> str:
    """Told apart by shape and filling, not by colour alone."""
    if kind == RETRAIN:
        return _element("path", fill="ink", d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z")
    if kind == "front":
        return _element("circle", fill="good", cx=x, cy=y, r=5.5)
    return _element("circle", fill="paper", stroke="bad", cx=x, cy=y, r=5, stroke_width=1.8)
