"""A report on classifiers as a table for the terminal, Markdown, an HTML page and charts. Text in, text out, and the files of a run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.run import disk_errors
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
SWEPT = ("average_gap", "forget_accuracy", "test_accuracy", "mia")  # what a curve over an option shows

Report = Mapping[str, Any]


def write(folder: Path, report: Report, pictures: Sequence[Path] = ()) -> None:
    """report.json, report.md, report.html and a chart for each option that was varied, in the folder."""
    charts = curves(report["methods"])
    with disk_errors(folder):
        write_json(folder / "report.json", report)
        for name, chart in charts.items():
            with written(folder / f"{name}.svg") as part:
                part.write_text(chart, encoding="utf-8")
        with written(folder / "report.md") as part:
            part.write_text(markdown(report), encoding="utf-8")
        with written(folder / "report.html") as part:
            part.write_text(page(report, charts, [path for path in pictures if path.is_file()]), encoding="utf-8")


def table(report: Report) -> str:
    """For a terminal: a line a method, below it what it says."""
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
        shown = [f"**{cell}**" if row[0] == best and i == gap else cell.replace("|", r"\|") for i, cell in enumerate(row)]
        lines_.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines_, "", *sentences(report), ""])


def sentences(report: Report) -> list[str]:
    """What the table says, in plain words: whether it can tell methods apart, who is nearest to retrain, who diverged."""
    protocol, order = report["protocol"], ranked(report["methods"])
    count = len(protocol["seeds"])
    said = [
        f"{protocol['dataset']}, {', then '.join(protocol['forget'])}: {protocol['forget_samples']} samples to forget, "
        f"{protocol['retain_samples']} to retain, {protocol['test_samples']} {protocol['on']} samples; {count} seed{'s' * (count > 1)}."
    ]
    nothing = protocol["original_gap"]
    if nothing is not None and not protocol["separates"]:
        said.append(
            f"The original itself is {nothing:.1f} points from retrain, less than {SEPARATES:g}: this table cannot tell methods apart."
        )
    if order:
        said.append(f"Nearest to retrain: {order[0]['label']}, {order[0]['average_gap']['mean']:.2f} points.")
    for row in report["methods"]:
        if row["diverged"]:
            said.append(f"{row['label']} diverged on {len(row['diverged'])} of {count} seeds ({row['diverged'][0]}).")
    return said


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name of a file -> chart, for each number option of which rows of one method differ in nothing else, three values at least."""
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method and "average_gap" in row]
        for name in dict.fromkeys(name for row in mine for name in row["values"]):
            swept = _swept(mine, name)
            xs = {row["values"][name] for row in swept}
            if len(xs) >= 3:
                series = {
                    COLUMNS[metric]: [Value(float(row["values"][name]), row[metric]["mean"], row[metric]["std"]) for row in swept]
                    for metric in SWEPT
                }
                words = name.replace("_", " ")
                far = min(xs) > 0 and max(xs) / min(xs) > 10
                found[f"{method}-{name}"] = lines(series, f"{method}: {words}", words, "%, points", far)
    return found


def _swept(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The first row, and those that differ from it in this option alone, a number."""
    base = rows[0]["values"]
    numbers = [row for row in rows if isinstance(row["values"].get(name), int | float) and not isinstance(row["values"][name], bool)]
    same = [row for row in numbers if all(row["values"].get(key) == value for key, value in base.items() if key != name)]
    return list({row["values"][name]: row for row in reversed(same)}.values())


def page(report: Report, charts: Mapping[str, str], pictures: Sequence[Path]) -> str:
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
        pictures=[f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in pictures],
        protocol=protocol_entries(protocol),
    )


def _requests(report: Report) -> list[list[str]]:
    """Headings and rows: the average gap of each method after each request."""
    names = list(dict.fromkeys(label for request in report["requests"] for label in request["average_gap"]))
    return [
        ["average gap after", *names],
        *(
            [str(request["forget"]), *(_number(request["average_gap"].get(name), "average_gap") for name in names)]
            for request in report["requests"]
        ),
    ]


def _cells(report: Report) -> list[list[str]]:
    """Heads, the baselines, then methods from the nearest to retrain to the furthest; columns that nobody has are left out."""
    rows = report["methods"]
    order = [row["label"] for row in ranked(rows)]
    places = {**{label: i for i, label in enumerate(BASELINES)}, **{label: i + 2 for i, label in enumerate(order)}}
    rows = sorted(rows, key=lambda row: places.get(row["label"], len(places) + 2))
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    heads = ["method", *(COLUMNS[name] for name in names)]
    return [heads, *([row["label"], *(_number(row.get(name), name) for name in names)] for row in rows)]


def _number(value: Any, name: str) -> str:
    """Mean and deviation; the digits that mean something."""
    if value is None:
        return "–"
    digits = 3 if name == "tow" else 1 if name in (*COMPARED, "gone_accuracy", "run_time", "rmia", "relearn_epochs", "relearn_gap") else 2
    if not isinstance(value, Mapping):
        return f"{value:.{digits}f}"
    return f"{value['mean']:.{digits}f}" + (f" ± {value['std']:.{digits}f}" if value["std"] else "")
