"""A bar chart as SVG: the change of counts by label, one bar for each of several models (Figure 3 of the Scissorhands paper)."""

from __future__ import annotations

from collections.abc import Mapping

from eval.rendering.svg import height_of, new_axes, new_figure, svg_of, text_width, write
from eval.rendering.theme import COLOURS

SHADES = ("mark", "bad", "good", "muted", "ink")
CAP = 100.0  # per cent of growth beyond which a bar is cut off
BAR, GAP, LEGEND = 18, 12, 20  # pixels: height of a bar, between labels, height of a line of the legend

Changes = Mapping[str, Mapping[str, float | None]]


def model_bars(changes: Changes, title: str) -> str:
    """Label -> model -> change in per cent, None where the original has nothing. Every label has every model.

    A growth of more than CAP is cut off, with its number beside it.
    """
    models = list(next(iter(changes.values()), {}))
    left = 16 + max((text_width(label, 13) for label in changes), default=0.0)
    row = BAR * len(models) + GAP
    top = 32.0 + LEGEND * len(models)
    height, width = top + row * len(changes) + 40, max(760.0, left + 460)
    figure = new_figure(width, height)
    axes = new_axes(figure, (left, width - 90, top, height - 34))
    axes.set(xlim=(-100, CAP), ylim=(max(1, row * len(changes)), 0))
    axes.set_xticks([-100, -50, 0, 50, 100], ["−100 %", "−50 %", "0", "+50 %", "+100 %"])
    axes.set_yticks([])
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, clip_on=False)
    write(axes, 8, 20, title, size=13)
    for k, model in enumerate(models):
        line = 40 + LEGEND * k
        axes.plot([12, 32], [height_of(axes) - line] * 2, transform=None, clip_on=False, color=_shade(k), linewidth=8, gid="chart-key")
        write(axes, 40, line + 4, model)
    for i, (label, by_model) in enumerate(changes.items()):
        write(axes, left - 8, top + i * row + (row - GAP) / 2 + 5, label, size=13, align="right")
        for k, model in enumerate(models):
            percent, y = by_model[model], i * row + BAR * (k + 0.5)
            end = min(percent or 0.0, CAP)
            axes.barh(y, end, BAR - 4, color=_shade(k), clip_on=False, gid="chart-bar")
            words = "none in the original" if percent is None else f"{percent:+.0f} %".replace("-", "−")
            right = axes.transData.transform((max(end, 0.0), y))[0] + 6
            write(axes, right, top + y + 4, words, "muted", 11)
    words = "; ".join(
        f"{label}: " + ", ".join(f"{model} {'none' if value is None else f'{value:+.0f} %'}" for model, value in by_model.items())
        for label, by_model in changes.items()
    )
    return svg_of(figure, f"{title}. {words}")


def _shade(k: int) -> str:
    return COLOURS[SHADES[k % len(SHADES)]]
