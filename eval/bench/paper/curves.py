"""Figure 2: accuracies and MIA over an option, with retraining's level; Figures 1 and 5: where the networks look (Grad-CAM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.errors import InputError
from eval.bench.paper.cells import FinishedCell
from eval.bench.paper.items import Item
from eval.bench.paper.plan import BATCHES, Point, Reproduction
from eval.bench.paper.result import Block, Result
from eval.bench.paper.table import deviations, diverged, number, protocol
from eval.classifiers.attention import attention_sheet
from eval.rendering.line_chart import Value, lines

Rows = Mapping[str, Mapping[str, Any]]


def curves(item: Item, options: Reproduction, cells: Sequence[FinishedCell]) -> Result:
    """A chart and a table for each panel."""
    (cell,) = cells
    rows: Rows = {row["label"]: row for row in cell.report["methods"]}
    charts, blocks, records = {}, [], []
    for panel in item.panels:
        points = [point for point in cell.planned.points[panel.title] if item.columns[0][0] in rows.get(point.label, {})]
        name = panel.option.replace("_", "-")
        charts[name] = _chart(item, panel.title, points, rows)
        blocks.append(_block(item, panel.title, points, rows))
        values = [{"x": point.x, **{metric: rows[point.label][metric] for metric, _ in item.columns}} for point in points]
        records.append({"title": panel.title, "option": panel.option, "points": values})
    level = {metric: rows["retrain"][metric] for metric, _ in item.columns}
    record = protocol(item, options, cells) | {"cells": [{"title": cell.planned.cell.title, "retrain": level, "panels": records}]}
    words = [*deviations(item, options, [cell.planned]), *_few(item, cell), *diverged(cells)]
    return Result(item, record, words, blocks, "Thin lines in the charts: the level of retraining.", charts)


def attention(item: Item, options: Reproduction, cells: Sequence[FinishedCell]) -> Result:
    """A Grad-CAM sheet of the first seed: the samples above, then a row for each network."""
    (cell,) = cells
    titles = {row.label: row.title for row in cell.planned.rows}
    path = cell.folder.parent / "gradcam.png"
    if not path.is_file() and not attention_sheet(cell.job, titles, path):
        raise InputError(f"{item.name} needs a network with convolutions, and {cell.job.training.network} has none")
    facts = {name: cell.report["protocol"][name] for name in ("forget_samples", "retain_samples")}
    record = protocol(item, options, cells) | {"cells": [{"title": cell.planned.cell.title, **facts, "rows": list(titles.values())}]}
    return Result(item, record, [*deviations(item, options, [cell.planned]), *diverged(cells)], pictures=[Path(path)])


def _chart(item: Item, title: str, points: Sequence[Point], rows: Rows) -> str:
    series = {
        words: [Value(point.x, rows[point.label][metric]["mean"], rows[point.label][metric]["std"], (0.0, 100.0)) for point in points]
        for metric, words in item.columns
    }
    levels = {words: rows["retrain"][metric]["mean"] for metric, words in item.columns}
    xs = [point.x for point in points]
    return lines(series, title, title.partition(") ")[2], "%", bool(xs) and max(xs) > 15 * min(xs), levels)


def _block(item: Item, title: str, points: Sequence[Point], rows: Rows) -> Block:
    named = [(f"{point.x:.3g}", point.label) for point in points]
    cells = [[x, *(number(rows[label].get(metric), metric) for metric, _ in item.columns)] for x, label in [*named, ("Retrain", "retrain")]]
    return Block(title, "", ["", *(words for _, words in item.columns)], cells)


def _few(item: Item, cell: FinishedCell) -> list[str]:
    """A panel over batches of the forget set has no more points than batches."""
    return [
        f"{panel.title}: {len(points)} of {len(panel.values)} points, because the forget set has so few batches."
        for panel in item.panels
        if panel.option == BATCHES and len(points := cell.planned.points[panel.title]) < len(panel.values)
    ]
