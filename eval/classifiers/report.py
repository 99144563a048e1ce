"""Renders a report on classifiers as a table for the terminal, Markdown, an HTML page and charts, and writes these into the run folder."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.files.disk import disk_errors
from eval.classifiers.measure import BASELINES, MEANINGS, SEPARATES, ranked
from eval.metrics.gaps import COMPARED
from eval.rendering.html import protocol_entries, render_page
from eval.rendering.line_chart import Value, lines

COLUMNS = {
    "forget_accuracy": "forget",
    "retain_accuracy": "retain",
    "test_accuracy": "test",
    "gone_accuracy": "gone class",
    "mia": "MIA",
    "average_gap": "average gap",
    "gap_of_means": "gap of means",
    "tow": "ToW",
    "run_time": "time, %",
    "rmia": "RMIA",
    "relearn_epochs": "relearn epochs",
    "relearn_gap": "relearn gap",
}
SWEPT = ("average_gap", "forget_accuracy", "test_accuracy", "mia")
"""Metrics in the chart of an option that was varied."""

Report = Mapping[str, Any]


def write(folder: Path, report: Report, images: Sequence[Path] = ()) -> None:
    """Write report.json, report.md, report.html and a chart for each option that was varied."""
    charts = curves(report["methods"])
    with disk_errors(folder):
        write_json(folder / "report.json", report)
        for name, chart in charts.items():
            with written(folder / f"{name}.svg") as part:
                part.write_text(chart, encoding="utf-8")
        with written(folder / "report.md") as part:
            part.write_text(markdown(report), encoding="utf-8")
        with written(folder / "report.html") as part:
            part.write_text(page(report, charts, [path for path in images if path.is_file()]), encoding="utf-8")


def table(report: Report) -> str:
    """For a terminal: one line per method, then the sentences."""
    cells = _cells(report)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    return "\n".join([*(line.rstrip() for line in text), "", *sentences(report)])


def markdown(report: Report) -> str:
    """The same as a Markdown table, the smallest gap in bold."""
    cells = _cells(report)
    best = next((row["label"] for row in ranked(report["methods"])), None)
    lines_ = ["| " + " | ".join(cells[0]) + " |", "|---" + "|---:" * (len(cells[0]) - 1) + "|"]
    gap = cells[0].index(COLUMNS["average_gap"]) if COLUMNS["average_gap"] in cells[0] else -1
    for row in cells[1:]:
        marked = [f"**{cell}**" if row[0] == best and i == gap else cell.replace("|", r"\|") for i, cell in enumerate(row)]
        lines_.append("| " + " | ".join(marked) + " |")
    return "\n".join([*lines_, "", *sentences(report), ""])


def sentences(report: Report) -> list[str]:
    """The table in sentences: whether it can distinguish methods, which is nearest to retrain, which diverged."""
    protocol, order = report["protocol"], ranked(report["methods"])
    count = len(protocol["seeds"])
    text = [
        f"{protocol['dataset']}, {', then '.join(protocol['forget'])}: {protocol['forget_samples']} samples to forget, "
        f"{protocol['retain_samples']} to retain, {protocol['test_samples']} {protocol['on']} samples; {count} seed{'s' * (count > 1)}."
    ]
    gap = protocol["original_gap"]
    if gap is not None and not protocol["separates"]:
        text.append(f"The original itself is {gap:.1f} points from retrain, less than {SEPARATES:g}: this table cannot tell methods apart.")
    if order:
        text.append(f"Nearest to retrain: {order[0]['label']}, {order[0]['average_gap']['mean']:.2f} points.")
    text.extend(_unreleased(report["methods"]))
    if names := [row["label"] for row in report["methods"] if row.get("differs")]:
        text.append(f"What no preset reproduces of paper and script is in report.json under differs: of {', '.join(names)}.")
    for row in report["methods"]:
        if row["diverged"]:
            text.append(f"{row['label']} diverged on {len(row['diverged'])} of {count} seeds ({row['diverged'][0]}).")
    return text


def _unreleased(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each cell whose settings were used although they were released for another."""
    labels: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.get("released") is False:
            labels.setdefault((row["preset"], row["cell"]), []).append(row["label"])
    return [
        f"No settings were released for this request and data set; the choice of those of preset {preset}, "
        f"{'whole classes' if cell == 'class' else f'{cell} %'}, is ours: {', '.join(names)}."
        for (preset, cell), names in labels.items()
    ]


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """File name -> chart, for each numeric option that alone differs between at least three rows of one method."""
    charts = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method and "average_gap" in row]
        for name in dict.fromkeys(name for row in of_method for name in row["values"]):
            swept = _swept(of_method, name)
            xs = {row["values"][name] for row in swept}
            if len(xs) >= 3:
                series = {
                    COLUMNS[metric]: [Value(float(row["values"][name]), row[metric]["mean"], row[metric]["std"]) for row in swept]
                    for metric in SWEPT
                }
                words = name.replace("_", " ")
                far = min(xs) > 0 and max(xs) / min(xs) > 10
                charts[f"{method}-{name}"] = lines(series, f"{method}: {words}", words, "%, points", far)
    return charts


def _swept(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The first row, and those that differ from it in this numeric option alone."""
    base = rows[0]["values"]
    numbers = [row for row in rows if isinstance(row["values"].get(name), int | float) and not isinstance(row["values"][name], bool)]
    same = [row for row in numbers if all(row["values"].get(key) == value for key, value in base.items() if key != name)]
    return list({row["values"][name]: row for row in reversed(same)}.values())


def page(report: Report, charts: Mapping[str, str], images: Sequence[Path]) -> str:
    """The whole page, images embedded."""
    cells, protocol = _cells(report), report["protocol"]
    return render_page(
        "classifiers.html",
        title=f"{protocol['dataset']} without {', then '.join(protocol['forget'])}",
        kind="Unlearning in classifiers",
        about=protocol["network"],
        sentences=sentences(report),
        cells=cells,
        meanings=[(COLUMNS[name], MEANINGS[name]) for name in COLUMNS if COLUMNS[name] in cells[0]],
        requests=_requests(report) if report.get("requests") else [],
        charts=list(charts.values()),
        pictures=[f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in images],
        protocol=protocol_entries(protocol),
    )


def _requests(report: Report) -> list[list[str]]:
    """Headings and rows: the average gap of each method after each request."""
    names = list(dict.fromkeys(label for request in report["requests"] for label in request["average_gap"]))
    return [
        ["average gap after", *names],
        *(
            [str(request["forget"]), *(number_text(request["average_gap"].get(name), "average_gap") for name in names)]
            for request in report["requests"]
        ),
    ]


def _cells(report: Report) -> list[list[str]]:
    """Headings, the baselines, then methods from the nearest to retrain to the furthest; columns without values are left out."""
    rows = report["methods"]
    order = [row["label"] for row in ranked(rows)]
    places = {**{label: i for i, label in enumerate(BASELINES)}, **{label: i + 2 for i, label in enumerate(order)}}
    rows = sorted(rows, key=lambda row: places.get(row["label"], len(places) + 2))
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    heads = ["method", *(COLUMNS[name] for name in names)]
    return [heads, *([row["label"], *(number_text(row.get(name), name) for name in names)] for row in rows)]


def number_text(value: Any, name: str) -> str:
    """Mean and standard deviation, rounded to the significant digits."""
    if value is None:
        return "–"
    digits = 3 if name == "tow" else 1 if name in (*COMPARED, "gone_accuracy", "run_time", "rmia", "relearn_epochs", "relearn_gap") else 2
    if not isinstance(value, Mapping):
        return f"{value:.{digits}f}"
    return f"{value['mean']:.{digits}f}" + (f" ± {value['std']:.{digits}f}" if value["std"] else "")
