"""What a table or figure came to: blocks of text cells, charts and pictures, printed and written as JSON and one HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.files.disk import disk_errors
from eval.bench.paper.items import Item
from eval.rendering.html import protocol_entries, render_page

BRACKETS = "In brackets: the paper's value; – is a value that is not known to us, or that was not measured."
DASH = "–"


@dataclass(frozen=True)
class Block:
    """One table: its title, a line below it, headings and rows; the first cell of a row is its name."""

    title: str
    about: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Result:
    """`record` is what report.json adds to the item's facts; `pictures` are PNG files in the folder."""

    item: Item
    record: Mapping[str, Any]
    deviations: Sequence[str]
    blocks: Sequence[Block] = ()
    note: str = ""
    charts: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Path] = ()
    command: str = ""

    def report(self) -> dict[str, Any]:
        """The content of report.json."""
        item = self.item
        facts = {"item": item.name, "title": item.title, "about": item.about, "sources": list(item.sources)}
        return {**facts, **self.record, "deviations": list(self.deviations), "command": self.command}


def write(folder: Path, result: Result) -> None:
    """report.json, report.html, and each chart as an SVG file."""
    with disk_errors(folder):
        for name, chart in result.charts.items():
            with written(folder / f"{name}.svg") as part:
                part.write_text(chart, encoding="utf-8")
        with written(folder / "report.html") as part:
            part.write_text(page(result), encoding="utf-8", errors="replace")
        write_json(folder / "report.json", result.report())


def page(result: Result) -> str:
    """The whole page, charts and pictures embedded."""
    item = result.item
    protocol = {name: value for name, value in result.record.items() if name not in ("cells", "models")}
    return render_page(
        "paper.html",
        title=f"{item.title} of the Scissorhands paper",
        kind="Reproduction",
        about=item.about,
        blocks=result.blocks,
        note=result.note,
        charts=list(result.charts.values()),
        pictures=[(path.stem, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}") for path in result.pictures],
        deviations=result.deviations,
        sources=item.sources,
        protocol=protocol_entries(protocol),
        command=result.command,
    )


def text(result: Result) -> str:
    """For a terminal: every block aligned, then what deviates from the paper."""
    parts = [f"{result.item.title}: {result.item.about}", *map(_block, result.blocks)]
    parts += [result.note] if result.note else []
    if result.deviations:
        parts.append("\n".join(["Where this deviates from the paper:", *(f"- {line}" for line in result.deviations)]))
    return "\n\n".join(parts)


def _block(block: Block) -> str:
    cells = [list(block.headings), *map(list, block.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if k == 0 else cell.rjust(width) for k, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    head = f"{block.title} ({block.about})" if block.about else block.title
    return "\n".join([head, *(line.rstrip() for line in lines)])
