"""The report of a bench as files: one HTML page with everything embedded, Markdown, JSON, charts and sheets of images."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.files.disk import disk_errors
from eval.bench.charts import confusion, curves, scatter
from eval.bench.sheet import Grid, sheet
from eval.bench.summary import BACK, BASELINES, MEANINGS, Line, confusions, ranked
from eval.bench.tables import COLUMNS, QUALITY, REST, cells_of, markdown, of_concept, ordered, sentences
from eval.rendering.html import protocol_entries, render_page

GAPS = {"gap_ua": "ua", "gap_ua_implicit": "ua described", "gap_ira": "ira", "gap_cra": "cra", "gap_attributes_kept": "attributes"}
GAPS |= {"average_gap": "mean of these", "gap_clip_score": "CLIP", "frechet_gold": "Fréchet distance"}
MARKDOWN = "report.md"

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Chart:
    """An SVG and the pixels beyond which a page does not enlarge it."""

    svg: str
    width: str


@dataclass(frozen=True)
class Sheet:
    """The images of one concept."""

    concept: str
    grid: Grid


def write(folder: Path, report: Report, lines: Sequence[Line]) -> None:
    """report.json, report.md, report.html, scatter.svg, relearn.svg, confusion-*.svg and sheet-*.png."""
    tables = confusions(lines)
    charts = {
        "scatter.svg": scatter(ordered(report["methods"]), "Forgetting against keeping"),
        "relearn.svg": curves(ordered(report["methods"])),
    }
    by_concept = confusion_charts(report, tables)
    charts |= {f"confusion-{concept}-{i}.svg": chart for concept, svgs in by_concept.items() for i, chart in enumerate(svgs)}
    with disk_errors(folder):
        _write_text(folder / MARKDOWN, markdown(report))  # first: by this file the folder is known as that of a bench
        grids = {concept: sheet(folder, concept, lines, labels_in_order(report)) for concept in report["protocol"]["concepts"]}
        for name, chart in charts.items():
            if chart:
                _write_text(folder / name, chart)
        write_json(folder / "report.json", {**report, "confusion": tables})
        html = page(report, charts, by_concept, {concept: grid for concept, grid in grids.items() if grid})
        _write_text(folder / "report.html", html)


def _write_text(path: Path, text: str) -> None:
    with written(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")


def page(report: Report, charts: Mapping[str, str], confused: Mapping[str, Sequence[str]], grids: Mapping[str, Grid]) -> str:
    """The whole page, charts and sheets embedded. `confused` and `grids` are by concept."""
    protocol, rows = report["protocol"], report["methods"]
    concepts, relearning = protocol["concepts"], protocol.get("relearning") or {}
    count = sum(row["label"] not in BASELINES for row in rows)
    return render_page(
        "bench.html",
        title=f"Erasing {', '.join(concepts)} from {str(protocol['model']).rstrip('/').split('/')[-1]}",
        kind="Bench of methods",
        about=f"{count} method{'s' * (count > 1)} on the same model, prompts and seeds",
        sentences=sentences(report),
        scatter=chart_of(charts.get("scatter.svg", "")),
        quality=cells_of(rows, QUALITY),
        rest=cells_of(rows, REST),
        front=[row["label"] for row in rows if row.get("front")],
        seeds=len(protocol["seeds"]),
        meanings=[(COLUMNS[name][0], MEANINGS[name]) for name in COLUMNS if any(name in row for row in rows)],
        sheets=[Sheet(concept, grid) for concept, grid in grids.items()],
        gaps=[cells for cells in cells_of(rows, tuple(GAPS), GAPS) if cells[0] not in BASELINES],
        gap_concepts=next((row["gap_over"] for row in rows if "gap_over" in row), None),
        relearning=chart_of(charts.get("relearn.svg", "")),
        relearning_rate=f"{relearning['relearn_rate']:g}" if relearning.get("relearn_rate") else "",
        relearning_batch=relearning.get("relearn_batch"),
        back=f"{BACK:g}",
        confusions=confused,
        worst=_worst(report) if len(concepts) > 1 else [],
        concepts=[(name, cells_of(of_concept(report, name), (*QUALITY, "average_gap"))) for name in concepts],
        failures=[[row["label"], f"{one['concept']}, seed {one['seed']}", one["failure"]] for row in rows for one in row["failures"]],
        protocol=protocol_entries(protocol),
        command=protocol.get("command"),
    )


def _worst(report: Report) -> list[list[str]]:
    """Headings and rows: the concept on which each method is worst, with its number."""
    cells = [["method", "lowest ua", "lowest ira, % of before", "lowest cra, % of before"]]
    for row in ranked(report["methods"]):
        worst = [row.get("worst", {}).get(name) for name in ("ua", "ira_kept", "cra_kept")]
        cells.append([row["label"], *(f"{one['value']:.1f}\n{one['concept']}" if one else "–" for one in worst)])
    return cells


def labels_in_order(report: Report) -> list[str]:
    """The baselines, then methods from the best to the worst; the retrained model also where it has no row over all concepts."""
    return [*BASELINES, *(row["label"] for row in ranked(report["methods"]))]


def confusion_charts(report: Report, tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Concept -> one chart per label that has a table."""
    order = labels_in_order(report)
    return {concept: [confusion(table[label], label, concept) for label in order if label in table] for concept, table in tables.items()}


def chart_of(svg: str) -> Chart | None:
    """The chart with the width it was drawn for; None for an empty chart."""
    width = re.search(r'width="([\d.]+)"', svg)
    return Chart(svg, width[1] if width else "920") if svg else None


def command(words: Sequence[str]) -> str:
    """The command line that repeats it."""
    return shlex.join(words)
