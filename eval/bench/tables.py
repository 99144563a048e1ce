"""A bench as text: the table for the terminal and in Markdown, and sentences that summarise it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.bench.summary import BASELINES, ranked

COLUMNS = {  # metric -> heading, digits after the point (None: four in all), divisor from the record's unit to the table's
    "ua": ("ua", 1, 1.0),
    "ua_implicit": ("ua described", 1, 1.0),
    "ira": ("ira", 1, 1.0),
    "ira_kept": ("% of before", 1, 1.0),
    "cra": ("cra", 1, 1.0),
    "cra_kept": ("% of before", 1, 1.0),
    "attributes_kept": ("attributes", 1, 1.0),
    "companion_kept": ("companion", 1, 1.0),
    "place_kept": ("in its place", 1, 1.0),
    "things_kept": ("things", 1, 1.0),
    "count_kept": ("count", 1, 1.0),
    "relation_kept": ("relation", 1, 1.0),
    "frechet": ("Fréchet", None, 1.0),
    "clip_score": ("CLIP", 2, 1.0),
    "average_gap": ("gap to retrained", 1, 1.0),
    "frechet_gold": ("Fréchet to it", None, 1.0),
    "relearn_steps": ("relearn steps", 0, 1.0),
    "relearned": ("relearned, %", 0, 1.0),
    "seconds": ("seconds", 0, 1.0),
    "peak_bytes": ("peak MiB", 0, 2.0**20),
    "changed_bytes": ("changed MiB", 2, 2.0**20),
}
QUALITY = tuple(COLUMNS)[:14]
REST = tuple(COLUMNS)[14:]
KEEPS = 90.0  # a broken model relearns nothing either: only rows that keep this much count as slow to relearn

Report = Mapping[str, Any]


def table(report: Report) -> str:
    """For a terminal: one line per method, and the sentences below."""
    cells = cells_of(report["methods"], tuple(COLUMNS))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    return "\n".join([*(line.rstrip() for line in text), "", *sentences(report)])


def markdown(report: Report) -> str:
    """The same as Markdown, rows of the front in bold; then a table of each concept alone."""
    front = [row["label"] for row in report["methods"] if row.get("front")]
    parts = [_markdown(cells_of(report["methods"], tuple(COLUMNS)), front), "\n".join(f"- {sentence}" for sentence in sentences(report))]
    if len(report["protocol"]["concepts"]) > 1:
        parts += [
            f"## {concept}\n\n{_markdown(cells_of(of_concept(report, concept), tuple(COLUMNS)), ())}"
            for concept in report["protocol"]["concepts"]
        ]
    return "\n\n".join(parts) + "\n"


def _markdown(cells: Sequence[Sequence[str]], bold: Sequence[str]) -> str:
    text = ["| " + " | ".join(cells[0]) + " |", "|---" + "|---:" * (len(cells[0]) - 1) + "|"]
    for row in cells[1:]:
        name = row[0].replace("|", r"\|")
        text.append("| " + " | ".join([f"**{name}**" if row[0] in bold else name, *row[1:]]) + " |")
    return "\n".join(text)


def sentences(report: Report) -> list[str]:
    """The table in sentences: what was compared, the front, the nearest to the retrained model, the slowest to relearn, failures."""
    protocol, rows = report["protocol"], report["methods"]
    seeds = len(protocol["seeds"])
    lines = [f"{protocol['model']}: {', '.join(protocol['concepts'])}; {seeds} seed{'s' * (seeds > 1)}; {_image_counts(protocol)} per run."]
    front = [row["label"] for row in ranked(rows) if row.get("front")]
    if front:
        lines.append(f"No other row is better in both forgetting (ua) and keeping: {', '.join(front)}.")
    near = sorted((row for row in ranked(rows) if "average_gap" in row), key=lambda row: (-row["runs"], row["average_gap"]["mean"]))
    if near:
        only = f" (there is one for {', '.join(near[0]['gap_over'])})" if "gap_over" in near[0] else ""
        lines.append(f"Nearest to the retrained model{only}: {near[0]['label']}, {near[0]['average_gap']['mean']:.1f} points on average.")
    able = [row for row in ranked(rows) if "relearned" in row and row.get("kept", {"mean": 0})["mean"] >= KEEPS]
    if slow := sorted(able, key=lambda row: row["relearned"]["mean"]):
        last = slow[0]["relearn"]["steps"][-1]
        share = f"{slow[0]['label']}, {slow[0]['relearned']['mean']:.0f} % of the original's"
        lines.append(f"Of rows that keep {KEEPS:g} % or more, least is back after {last} steps of relearning with {share}.")
    lines += [_worst(row) for row in ranked(rows) if row.get("front") and row.get("worst", {}).get("ua")]
    for row in rows:
        if row["failures"]:
            first, n = row["failures"][0], len(row["failures"])
            where = f"{first['concept']}, seed {first['seed']}: {first['failure']}"
            lines.append(f"{row['label']} failed in {n} run{'s' * (n > 1)} ({where}).")
    return lines


def _worst(row: Mapping[str, Any]) -> str:
    names = {"ua": "ua", "ira_kept": "ira, % of before,", "cra_kept": "cra, % of before,"}
    parts = [f"{names[name]} {worst['value']:.1f} ({worst['concept']})" for name, worst in row["worst"].items()]
    return f"Worst concept of {row['label']}: {', '.join(parts)}."


def _image_counts(protocol: Mapping[str, Any]) -> str:
    roles = protocol.get("pictures") or {}
    words = {"evaluate": "that name it", "implicit": "that describe it", "evaluate-retain": "to keep"}
    return ", ".join(f"{roles[role]} images {text}" for role, text in words.items() if roles.get(role)) or "no images"


def of_concept(report: Report, concept: str) -> list[Mapping[str, Any]]:
    return [row for row in report["concepts"] if row["concept"] == concept]


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Baselines, then methods from the best to the worst."""
    return [*(row for row in rows if row["label"] in BASELINES), *ranked(rows)]


def cells_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str], headings: Mapping[str, str] | None = None) -> list[list[str]]:
    """Heads and rows in order; columns that no row has are left out."""
    rows = ordered(rows)
    names = [name for name in names if any(name in row for row in rows)]
    heads = ["method", *((headings or {}).get(name) or COLUMNS[name][0] for name in names)]
    return [heads, *([row["label"] + _incomplete(row), *(number(row.get(name), name) for name in names)] for row in rows)]


def _incomplete(row: Mapping[str, Any]) -> str:
    """Of a row with failures: the number of runs behind its numbers."""
    if not row["failures"]:
        return ""
    return " (failed)" if not row["runs"] else f" ({row['runs']} run{'s' * (row['runs'] > 1)})"


def number(value: Mapping[str, float] | None, name: str) -> str:
    """Mean and deviation, with as many digits as the column has."""
    if value is None:
        return "–"
    _, digits, unit = COLUMNS.get(name, ("", 1, 1.0))
    mean, std = (_rounded(value[part] / unit, digits) for part in ("mean", "std"))
    return f"{mean} ± {std}" if value["std"] else mean


def _rounded(value: float, digits: int | None) -> str:
    """With so many digits after the point; None: as many as make four in all."""
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(0, 4 - whole) if digits is None else digits}f}"
