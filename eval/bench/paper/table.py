"""A table of the paper from finished cells: the paper's rows and columns, our value and the paper's in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erase.methods.classifiers.released import CELEBA
from erase.methods.unreproduced import TRAINING, of_classifiers
from eval.bench.paper.cells import FinishedCell
from eval.bench.paper.items import Item
from eval.bench.paper.plan import PlannedCell, Reproduction, Row, in_words, settled
from eval.bench.paper.result import BRACKETS, DASH, Block, Result

UNITS = {"peak_bytes": 1 / 2**20, "run_time": 0.01}
"""Metric -> factor to the paper's unit: MiB, and a share of the time of retraining."""

DIGITS = {"peak_bytes": 0, "run_time": 3}
UNREPRODUCED = "docs/classify.md has the settings of every preset, and what none reproduces, under Settings of the paper."

Values = Mapping[str, Any]


def table(item: Item, options: Reproduction, cells: Sequence[FinishedCell]) -> Result:
    """The result of a table."""
    records = [cell_record(item, cell) for cell in cells]
    record = protocol(item, options, cells) | {"cells": records}
    lines = [*deviations(item, options, [cell.planned for cell in cells]), *diverged(cells)]
    return Result(item, record, lines, [block(item, record) for record in records], BRACKETS)


def protocol(item: Item, options: Reproduction, cells: Sequence[FinishedCell]) -> dict[str, Any]:
    """What a value depends on, beside the facts of each cell, which its own report has."""
    first = cells[0].report["protocol"]
    facts = {"preset": options.preset, "scale": options.scale, "seeds": first["seeds"], "device": first["device"]}
    return facts | {"mia": first["mia"], "versions": first["versions"]}


def cell_record(item: Item, finished: FinishedCell) -> dict[str, Any]:
    """A cell for report.json: each row's values and the paper's, by metric."""
    cell, by_label = finished.planned.cell, {row["label"]: row for row in finished.report["methods"]}
    columns = item.columns_of(cell)
    rows = []
    for row in finished.planned.rows:
        source = by_label.get(row.label, {})
        values = {metric: value for metric, _ in columns if (value := _value(source, metric, finished.planned.job.relearn)) is not None}
        facts = {"title": row.title, "label": row.label, "settings": _settings(row, finished.planned)}
        rows.append({**facts, "seeds": source.get("seeds", 0), "values": values, "paper": dict(cell.published.get(row.title, {}))})
    about = {"title": cell.title, "dataset": finished.report["protocol"]["dataset"], "forget": cell.forget}
    facts = {name: finished.report["protocol"][name] for name in ("forget_samples", "retain_samples", "test_samples", "original_gap")}
    return {**about, **facts, "released": finished.planned.released, "folder": cell.slug, "rows": rows, "columns": dict(columns)}


def _value(source: Values, metric: str, relearn: int) -> dict[str, float] | str | None:
    """A metric in the paper's unit; a text where relearning did not reach the accuracy. Retraining has no gap to itself."""
    value = source.get(metric)
    if value is None or (metric == "gap_of_means" and source["label"] == "retrain"):
        return None
    if metric == "relearn_epochs" and value["mean"] >= relearn + 1:
        return f">{relearn}"
    unit = UNITS.get(metric, 1.0)
    return {name: number * unit for name, number in value.items()} if isinstance(value, Mapping) else {"mean": value * unit}


def _settings(row: Row, planned: PlannedCell) -> str:
    return in_words(settled(row.entry, planned.cell)) if row.entry else ""


def block(item: Item, record: Values) -> Block:
    """A cell as text: ours, and the paper's in brackets."""
    columns: Mapping[str, str] = record["columns"]
    rows = [[row["title"], *(_both(row, metric) for metric in columns)] for row in record["rows"]]
    samples = f"{record['dataset']}: {record['forget_samples']} samples forgotten, {record['retain_samples']} retained"
    return Block(record["title"], f"{samples}; {record['folder']}/report.html", ["", *columns.values()], rows)


def _both(row: Values, metric: str) -> str:
    return f"{number(row['values'].get(metric), metric)} ({number(row['paper'].get(metric), metric)})"


def number(value: Any, metric: str) -> str:
    """Mean and deviation over the seeds, or the paper's value."""
    digits = DIGITS.get(metric, 2)
    if value is None or isinstance(value, str):
        return value or DASH
    if not isinstance(value, Mapping):
        return f"{value:.{digits}f}"
    return f"{value['mean']:.{digits}f}" + (f" ± {value['std']:.{digits}f}" if value.get("std") else "")


def deviations(item: Item, options: Reproduction, cells: Sequence[PlannedCell]) -> list[str]:
    """Everything in which these values are not the paper's, known before they are computed."""
    lines = []
    if options.scale is not None:
        job = cells[0].job
        lines.append(
            f"A rehearsal at scale {options.scale:g}: {job.train_samples} samples of scikit-learn's digits, a network of four layers, "
            f"batches of {job.training.batch}, {options.scale:g} of all epochs. No value compares with the paper's."
        )
    lines += [line for cell in cells if (line := _unreleased(cell))]
    if options.seeds not in (None, item.seeds):
        lines.append(f"{options.seeds} seed{'s' * (options.seeds != 1)} instead of {item.seeds}.")
    if options.preset != "paper":
        lines.append("Settings are those of the released script where it differs from the paper's text.")
    return [*lines, *item.notes, *_unreproduced(cells), UNREPRODUCED]


def _unreproduced(cells: Sequence[PlannedCell]) -> list[str]:
    """What no preset reproduces: of the rows of these cells, and of all tables on CIFAR and SVHN."""
    entries = {row.title: row.entry for cell in cells for row in cell.rows if row.entry}
    titles: dict[str, list[str]] = {}
    for title, entry in entries.items():
        for sentence in of_classifiers(entry.method, entry.preset):
            titles.setdefault(sentence, []).append(title)
    usual = () if all(cell.cell.dataset == CELEBA for cell in cells) else TRAINING
    return [*(f"{', '.join(names)}: {sentence}." for sentence, names in titles.items()), *usual]


def _unreleased(planned: PlannedCell) -> str:
    """The sentence for a cell without released settings."""
    if planned.released:
        return ""
    used = "; ".join(f"{row.title} {words}" for row in planned.rows if (words := _settings(row, planned)))
    return f"{planned.cell.title}: no settings were released; those of {planned.nearest} are used, and that choice is ours: {used}."


def diverged(cells: Sequence[FinishedCell]) -> list[str]:
    """The rows whose loss was not finite on some seed."""
    return [
        f"{cell.planned.cell.title}: {row['label']} diverged on {len(row['diverged'])} of {cell.job.seeds} seeds ({row['diverged'][0]})."
        for cell in cells
        for row in cell.report["methods"]
        if row["diverged"]
    ]
