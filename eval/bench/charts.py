"""Charts of a bench as SVG: forgetting against keeping, confusion of the neighbours, and relearning. Drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval.bench.results import RETRAIN
from eval.bench.summary import BASELINES
from eval.rendering.charts import cross, label, pixel_of
from eval.rendering.label_places import Rectangle
from eval.rendering.line_chart import Value, lines
from eval.rendering.svg import Box, name_axes, new_axes, new_figure, svg_of, text_width, write
from eval.rendering.theme import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
Table = Mapping[str, Mapping[str, int]]

CELL, GUTTER = 26, 8  # pixels of a confusion table
SEEDS, IMAGES = "one standard deviation over seeds", "95 % interval of the images, for one seed"
ZOOM = 85.0  # where both are at least this, a second panel magnifies
NEAR = 30  # pixels: of two points this near, the left one has its name on the left
WHOLE, CLOSER = (74.0, 500.0, 44.0, 470.0), (600.0, 1006.0, 44.0, 470.0)


def scatter(rows: Sequence[Row], title: str) -> str:
    """ua against kept, one point per row with bars of one deviation over seeds, or for one seed with the 95 % interval of the images;
    filled where no other row is better in both.

    Where several rows crowd in the corner that all aim for, a second panel enlarges it. Empty if no row has both numbers.
    """
    points = [row for row in rows if "ua" in row and "kept" in row and row["label"] != "original"]
    if not points:
        return ""
    near = [row for row in points if min(row["ua"]["mean"], row["kept"]["mean"]) >= ZOOM]
    near = near if 1 < len(near) < len(points) else []
    width = 1160.0 if near else 530.0  # room for the names of the best, right of their points
    figure = new_figure(width, 556)
    axes = _axes(new_axes(figure, WHOLE), points, 90.0)
    _points(axes, points, near, WHOLE)
    if near:
        closer = _axes(new_axes(figure, CLOSER), near, 100.0)
        _points(closer, near, [], CLOSER, margin=148.0)
        _frame(axes, closer)
        write(axes, 600, 30, "the framed corner, larger", "muted", 13)
    write(axes, 74, 30, f"one point per method; bars: {SEEDS if any(row['seeds'] > 1 for row in points) else IMAGES}", "muted", 13)
    key = [("front", 80, "no other is better in both"), ("behind", 272, "another is better in both")]
    key += [(RETRAIN, 464, "retrained")] if any(row["label"] == RETRAIN for row in points) else []
    for kind, x, words in key:
        _mark(axes, kind, x, 20, pixels=True)
        write(axes, x + 14, 540, words)
    words = "; ".join(f"{row['label']}: {row['kept']['mean']:.1f} kept, {row['ua']['mean']:.1f} forgotten" for row in points)
    return svg_of(figure, f"{title}. {words}")


def _axes(axes: Axes, rows: Sequence[Row], most: float) -> Axes:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlim=_ends(rows, "kept", most), ylim=_ends(rows, "ua", most))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    name_axes(axes, "kept: smaller of ira and cra, % of the original", "forgotten: ua, %")
    return axes


def _points(axes: Axes, rows: Sequence[Row], unnamed: Sequence[Row], box: Box, margin: float = 28.0) -> None:
    """Points with their bars and names; those named in the magnified panel are not named here."""
    taken: list[Rectangle] = []
    places = [(row["kept"]["mean"], row["ua"]["mean"]) for row in rows]
    for row, at in zip(rows, places, strict=True):
        taken += cross(axes, at, _range(row, "kept"), _range(row, "ua"), "muted")
    for row, at in zip(rows, places, strict=True):
        _mark(axes, RETRAIN if row["label"] in BASELINES else "front" if row.get("front") else "behind", *at)
    pixels = [pixel_of(axes, *at) for at in places]
    for (x, y), at, row in sorted(zip(pixels, places, rows, strict=True), key=lambda one: one[0], reverse=True):
        if row not in unnamed:
            beside = any(0 < other - x < NEAR and abs(height - y) < NEAR for other, height in pixels)
            label(axes, row["label"], at, taken, (box[1] + margin, box[3] + 16), left_first=beside)


def _frame(axes: Axes, closer: Axes) -> None:
    """A frame around the part of the first panel that the second shows."""
    from matplotlib.patches import Rectangle as Frame

    (left, right), (low, high) = closer.get_xlim(), closer.get_ylim()
    style: dict[str, Any] = {"fill": False, "edgecolor": COLOURS["muted"], "linestyle": (0, (4, 3)), "linewidth": 1, "clip_on": False}
    axes.add_patch(Frame((left, low), min(right, axes.get_xlim()[1]) - left, min(high, axes.get_ylim()[1]) - low, **style))


def _mark(axes: Axes, kind: str, x: float, y: float, pixels: bool = False) -> None:
    """Distinguished by shape and filling, not by colour alone; in pixels from the lower left corner, else in the units of the axes."""
    shape, size, fill, edge = {
        RETRAIN: ("D", 10.0, "ink", "ink"),
        "front": ("o", 11.0, "good", "good"),
        "behind": ("o", 10.0, "paper", "bad"),
    }[kind]
    style: dict[str, Any] = {"transform": None} if pixels else {}
    style |= {"markerfacecolor": COLOURS[fill], "markeredgecolor": COLOURS[edge], "markeredgewidth": 1.8 if kind == "behind" else 0}
    axes.plot([x], [y], shape, markersize=size, clip_on=False, gid=f"chart-{kind}", zorder=4, **style)


def confusion(table: Table, title: str, concept: str) -> str:
    """A cell for each requested thing (rows) and each detected thing (columns): the share of the row's images, in percent.

    The diagonal is outlined in green; the concept's own cell, which should be empty, in red.
    """
    labels = sorted({name for requested, counts in table.items() for name in (requested, *counts)}, key=_order(table))
    longest = max(text_width(name, 12) for name in labels)
    left, bottom = longest + 2 * GUTTER, 28 + CELL * len(labels) + 8
    width, height = max(left + CELL * len(labels) + 4, text_width(title, 13) + 8), bottom + longest + 14
    figure = new_figure(width, height)
    axes = new_axes(figure, (0, width, 0, height))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    write(axes, 0, 16, title, size=13)
    for i, requested in enumerate(labels):
        y = 28 + CELL * i
        write(axes, left - 8, y + CELL / 2 + 4, requested, "bad" if requested == concept else "ink", align="right")
        counts = table.get(requested, {})
        n = sum(counts.values())
        for k, detected in enumerate(labels):
            share = 100 * counts.get(detected, 0) / n if n else None
            _cell(axes, left + CELL * k, y, share, requested == detected, requested == concept)
    for k, detected in enumerate(labels):
        write(axes, left + CELL * k + CELL / 2 + 4, bottom, detected, "bad" if detected == concept else "ink", align="right", turn=90)
    words = "; ".join(f"{requested}: " + ", ".join(f"{name} {n}" for name, n in counts.items()) for requested, counts in table.items())
    return svg_of(figure, f"{title}. {words}")


def _cell(axes: Axes, x: float, y: float, share: float | None, same: bool, concept: bool) -> None:
    """The cell of one share: darker for larger shares."""
    from matplotlib.patches import Rectangle as Cell

    def draw(**style: Any) -> None:
        axes.add_patch(Cell((x, y), CELL - 2, CELL - 2, clip_on=False, **style))

    if share is None:
        draw(fill=False, edgecolor=COLOURS["grid"], linestyle=(0, (2, 3)), linewidth=1)
        return
    colour = COLOURS[("bad" if concept else "good") if same else ("mark" if concept else "bad")]
    draw(facecolor=COLOURS["grid"], alpha=0.35, linewidth=0)
    if share:
        draw(facecolor=colour, alpha=round(0.1 + 0.8 * share / 100, 3), linewidth=0)
    if same:
        draw(fill=False, edgecolor=colour, linewidth=1.2)
    if share >= 0.5:
        write(axes, x + CELL / 2 - 1, y + CELL / 2 + 3, f"{share:.0f}", "paper" if share > 55 else "ink", 10, "center")


def curves(rows: Sequence[Row]) -> str:
    """How much of the concept is drawn after each number of relearning steps, one line per method; empty where no method relearned."""
    series = {}
    for row in rows:
        if curve := row.get("relearn"):
            values = zip(curve["steps"], curve["mean"], curve["std"], strict=True)
            series[row["label"]] = [Value(float(step), mean, std, (0.0, 100.0)) for step, mean, std in values]
    return lines(series, "Relearning: images that show the concept", "steps of fine-tuning on the forget set", "%") if series else ""


def _order(table: Table) -> Callable[[str], tuple[int, str]]:
    """Labels in the order of the rows, then the rest by name."""
    first = list(table)
    return lambda name: (first.index(name) if name in first else len(first), name)


def _range(row: Row, name: str) -> tuple[float, float]:
    """The ends of a row's bar."""
    mean, std = row[name]["mean"], row[name]["std"]
    if row["seeds"] > 1 or name not in row.get("interval", {}):
        return mean - std, mean + std
    return row["interval"][name]["low"], row["interval"][name]["high"]


def _ends(rows: Sequence[Row], name: str, most: float) -> tuple[float, float]:
    """The limits of an axis that holds all rows with their bars, and at least goes down from `most`."""
    low, high = (end(_range(row, name)[k] for row in rows) for k, end in ((0, min), (1, max)))
    step = 10 if high - low > 20 else 2
    low = max(0.0, min(most, step * math.floor((low - 0.1 * step) / step)))
    return low, max(100.0, min(high, 130.0)) + 0.02 * (100 - low)
