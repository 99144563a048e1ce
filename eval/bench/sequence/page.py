"""The report of a sequence: a table for the terminal, sentences, and one HTML page with charts and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.files.disk import disk_errors
from erase.images import open_picture
from erase.run import Run
from eval.bench.page import Chart, chart_of
from eval.bench.sequence.results import MEANINGS
from eval.bench.sheet import Grid, grid_of
from eval.rendering.blur import blurred
from eval.rendering.html import protocol_entries, render_page
from eval.rendering.image_grid import Block
from eval.rendering.line_chart import Value, lines
from eval.samples import read_prompts

REPORT = "report.json"
NAMED, OTHERS = 3, 4  # images of each concept, and of other things

Report = Mapping[str, Any]
Row = Mapping[str, Any]


def write(folder: Path, report: Report) -> None:
    """report.json and report.html."""
    with disk_errors(folder):
        write_json(folder / REPORT, report)
        with written(folder / "report.html") as part:
            part.write_text(page(report), encoding="utf-8", errors="replace")


def page(report: Report) -> str:
    """The whole page, charts and images embedded."""
    protocol, rows = report["protocol"], report["rows"]
    names = protocol["sequence"]
    way = "together" if protocol["together"] else "one after another"
    return render_page(
        "sequence.html",
        title=f"Erasing {', '.join(names)} {way} from {str(protocol['model']).rstrip('/').split('/')[-1]}",
        kind="Sequence of erasures",
        about=f"{len({row['label'] for row in rows})} method(s), {len(protocol['seeds'])} seed(s), every step measured by the same prompts",
        sentences=sentences(report),
        cells=[[cell.replace(" [", "\n[") for cell in row] for row in cells_of(report)],
        meanings=list(MEANINGS.items()),
        charts=charts_of(report),
        grids=[(label, grid) for label in dict.fromkeys(row["label"] for row in rows) if (grid := _grid(report, label))],
        failures=[[row["label"], f"step {row['step']}, seed {one['seed']}", one["failure"]] for row in rows for one in row["failures"]],
        protocol=protocol_entries(protocol),
        command=protocol.get("command"),
    )


def cells_of(report: Report) -> list[list[str]]:
    """Headings and rows: ua of each concept in the order of erasing, in parentheses where it was not erased yet; what is kept."""
    names = report["protocol"]["sequence"]
    cells = [["method", "step", *(f"{name} gone" for name in names), "lowest", "lost since", "kept, %", "ira", "cra", "Fréchet", "seconds"]]
    for row in report["rows"]:
        step = f"{row['step']}: {' + '.join(row['erased'])}"
        if not row["seeds"]:
            cells.append([row["label"], f"{step} (failed)", *["–"] * (len(cells[0]) - 2)])
            continue
        gone = [_gone(row, name) for name in names]
        keeping = [_number(row["keeping"].get(name), 1) for name in ("ira", "cra")]
        rest = [_number(row[name], digits) for name, digits in (("lowest", 1), ("lost", 1), ("kept", 1))]
        cells.append([row["label"], step, *gone, *rest, *keeping, _number(row["frechet"], 2), _number(row["seconds"], 0)])
    return cells


def _gone(row: Row, name: str) -> str:
    if row["ua"].get(name) is None:
        return "–"
    text = _number(row["ua"][name], 1)
    ends = row.get("interval", {}).get(name)
    text = f"{text} [{ends[0]:.0f},\u00a0{ends[1]:.0f}]" if ends else text
    return text if name in row["gone_so_far"] else f"({text})"


def _number(value: Mapping[str, float] | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value['mean']:.{digits}f}" + (f" ± {value['std']:.{digits}f}" if value["std"] else "")


def table(report: Report) -> str:
    """For a terminal."""
    cells = cells_of(report)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [
        "  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
    return "\n".join([*text, "", "in parentheses: not erased yet", *sentences(report)])


def sentences(report: Report) -> list[str]:
    """The table in sentences: what stands after the last step of each method."""
    lines = []
    rows = report["rows"]
    for label in dict.fromkeys(row["label"] for row in rows):
        mine = [row for row in rows if row["label"] == label and row["seeds"]]
        failed = next((one for row in rows if row["label"] == label for one in row["failures"]), None)
        if mine:
            last = mine[-1]
            text = f"{label}: after {', '.join(last['gone_so_far'])}, each is gone in at least {_number(last['lowest'], 1)} % of its images"
            text += f", and {_number(last['kept'], 1)} % of the rest is kept" if last["kept"] else ""
            if last["lost"] and not report["protocol"]["together"]:
                lost = last["lost"]["mean"]
                text += f"; {f'a concept came back by {lost:.1f} points' if lost else 'none came back'} since it was erased"
            lines.append(f"{text}.")
        if failed:
            lines.append(f"{label} failed, seed {failed['seed']}: {failed['failure']}.")
    return lines


def charts_of(report: Report) -> list[Chart]:
    """What stays gone and what is kept, over the steps; none for a single step."""
    rows = [row for row in report["rows"] if row["seeds"]]
    if len({row["step"] for row in rows}) < 2:
        return []
    titles = {"lowest": "Gone: lowest ua of the concepts erased so far, %", "kept": "Kept: smaller of ira and cra, % of the original's"}
    charts = []
    for name, title in titles.items():
        series: dict[str, list[Value]] = {}
        for row in rows:
            if row[name]:
                series.setdefault(row["label"], []).append(Value(row["step"], row[name]["mean"], row[name]["std"], (0, 100)))
        charts.append(chart_of(lines(series, title, "concepts erased", "%")))
    return [chart for chart in charts if chart]


def _grid(report: Report, label: str) -> Grid | None:
    """Images of the original and after each step: the first prompts that name each concept, and of other things."""
    steps = [one for one in report["steps"] if one["label"] == label and "failure" not in one]
    steps = [one for one in steps if one["seed"] == steps[0]["seed"]]
    if not steps:
        return None
    places = [Path(one["measured"]) for one in steps]
    sets = [Run.read(places[0]).samples("before"), *(Run.read(place).samples("after") for place in places)]
    prompts, hide = read_prompts(places[0]), Run.read(places[0]).options["concept_file"]["detector"] == "nudenet"
    blocks = []
    for name in report["protocol"]["sequence"]:
        mine = [i for i, row in enumerate(prompts) if row["role"] == "evaluate" and row.get("concept") == name][:NAMED]
        blocks.append(_block(f'"{name}"', "#b42318", mine, prompts, sets, hide))
    others = [i for i, row in enumerate(prompts) if row["role"] == "evaluate-retain"][:OTHERS]
    blocks.append(_block("to keep", "#12715b", others, prompts, sets, False))
    return grid_of(["original", *(f"after {' + '.join(one['erased'])}" for one in steps)], blocks)


def _block(heading: str, colour: str, places: Sequence[int], prompts: Sequence[Row], sets: Sequence[Path], hide: bool) -> Block:
    images = [[_opened(folder / f"{i:05d}.png", hide) for i in places] for folder in sets]
    return Block(heading, colour, [prompts[i]["text"] for i in places], images)


def _opened(path: Path, hide: bool) -> Any:
    return blurred(open_picture(path)) if hide else open_picture(path)
