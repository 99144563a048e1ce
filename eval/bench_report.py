"""A bench as a table for the terminal, Markdown, one HTML page, charts and picture sheets: what to read and what to show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.images import open_picture, read_images
from erase.run import Run, disk_errors
from eval.bench import BACK, BASELINES, MEANINGS, ORIGINAL, Line, confusions, ranked
from eval.bench_charts import confusion, curves, scatter
from eval.bench_sheet import Block, as_html, grid
from eval.html import PAGE, _lines, _protocol, _repeat, _rows, _section, _style, _t
from eval.report import PANELS, blurred
from eval.samples import read_prompts

COLUMNS = {  # metric -> heading, digits after the point (None: four in all), what one of its units is of the table's
    "ua": ("ua", 1, 1.0),
    "ua_implicit": ("ua described", 1, 1.0),
    "ira": ("ira", 1, 1.0),
    "ira_kept": ("% of before", 1, 1.0),
    "cra": ("cra", 1, 1.0),
    "cra_kept": ("% of before", 1, 1.0),
    "attributes_kept": ("attributes", 1, 1.0),
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
QUALITY = tuple(COLUMNS)[:9]
REST = tuple(COLUMNS)[9:]
GAPS = {"gap_ua": "ua", "gap_ua_implicit": "ua described", "gap_ira": "ira", "gap_cra": "cra", "gap_attributes_kept": "attributes"}
GAPS |= {"average_gap": "mean of these", "gap_clip_score": "CLIP", "frechet_gold": "Fréchet distance"}
KEEPS = 90.0  # a broken model learns nothing again either: only rows that keep so much are said to be hard to teach
SHOWN = {"evaluate": 4, "implicit": 2, "evaluate-retain": 6}  # columns of the sheet
HEADINGS = {"evaluate": "{}, named", "implicit": "{}, described", "evaluate-retain": "to keep: other prompts"}

Report = Mapping[str, Any]


def write(folder: Path, report: Report, lines: Sequence[Line]) -> None:
    """report.json, report.md, report.html, scatter.svg, relearn.svg, confusion-*.svg and sheet-*.png."""
    tables = confusions(lines)
    charts = {
        "scatter.svg": scatter(_ordered(report["methods"]), "Forgetting against keeping"),
        "relearn.svg": curves(_ordered(report["methods"])),
    }
    shown = _confusions(report, tables)
    charts |= {f"confusion-{concept}-{i}.svg": chart for concept, found in shown.items() for i, chart in enumerate(found)}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sheets = {concept: html for concept in report["protocol"]["concepts"] if (html := sheet(folder, concept, report, lines))}
        for name, chart in charts.items():
            if chart:
                with written(folder / name) as part:
                    part.write_text(chart, encoding="utf-8")
        write_json(folder / "report.json", {**report, "confusion": tables})
        for name, text in (("report.md", markdown(report)), ("report.html", page(report, charts, shown, sheets))):
            with written(folder / name) as part:
                part.write_text(text, encoding="utf-8", errors="replace")


# --- tables ---------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    """For a terminal: a line a method, below it what it says."""
    cells = _cells(report["methods"], tuple(COLUMNS))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    return "\n".join([*(line.rstrip() for line in text), "", *sentences(report)])


def markdown(report: Report) -> str:
    """The same as Markdown, rows of the front in bold; then a table of each concept alone."""
    front = [row["label"] for row in report["methods"] if row.get("front")]
    parts = [_markdown(_cells(report["methods"], tuple(COLUMNS)), front), "\n".join(f"- {said}" for said in sentences(report))]
    if len(report["protocol"]["concepts"]) > 1:
        parts += [
            f"## {concept}\n\n{_markdown(_cells(_of(report, concept), tuple(COLUMNS)), ())}" for concept in report["protocol"]["concepts"]
        ]
    return "\n\n".join(parts) + "\n"


def _markdown(cells: Sequence[Sequence[str]], bold: Sequence[str]) -> str:
    text = ["| " + " | ".join(cells[0]) + " |", "|---" + "|---:" * (len(cells[0]) - 1) + "|"]
    for row in cells[1:]:
        name = row[0].replace("|", r"\|")
        text.append("| " + " | ".join([f"**{name}**" if row[0] in bold else name, *row[1:]]) + " |")
    return "\n".join(text)


def sentences(report: Report) -> list[str]:
    """What the table says in plain words: of what, who is on the front, who is nearest to the retrained model, who failed."""
    protocol, rows = report["protocol"], report["methods"]
    seeds = len(protocol["seeds"])
    said = [f"{protocol['model']}: {', '.join(protocol['concepts'])}; {seeds} seed{'s' * (seeds > 1)}; {_pictures(protocol)} a run."]
    front = [row["label"] for row in ranked(rows) if row.get("front")]
    if front:
        said.append(f"No other row is better in both forgetting (ua) and keeping: {', '.join(front)}.")
    near = [row for row in ranked(rows) if "average_gap" in row]
    if near:
        said.append(f"Nearest to the retrained model: {near[0]['label']}, {near[0]['average_gap']['mean']:.1f} points on average.")
    able = [row for row in ranked(rows) if "relearned" in row and row.get("kept", {"mean": 0})["mean"] >= KEEPS]
    if slow := sorted(able, key=lambda row: row["relearned"]["mean"]):
        last = slow[0]["relearn"]["steps"][-1]
        share = f"{slow[0]['label']}, {slow[0]['relearned']['mean']:.0f} % of the original's"
        said.append(f"Of rows that keep {KEEPS:g} % or more, least is back after {last} steps of relearning with {share}.")
    said += [_worst(row) for row in ranked(rows) if row.get("front") and row.get("worst", {}).get("ua")]
    for row in rows:
        if row["failures"]:
            first, n = row["failures"][0], len(row["failures"])
            where = f"{first['concept']}, seed {first['seed']}: {first['failure']}"
            said.append(f"{row['label']} failed in {n} run{'s' * (n > 1)} ({where}).")
    return said


def _worst(row: Mapping[str, Any]) -> str:
    names = {"ua": "ua", "ira_kept": "ira, % of before,", "cra_kept": "cra, % of before,"}
    parts = [f"{names[name]} {found['value']:.1f} ({found['concept']})" for name, found in row["worst"].items()]
    return f"Worst concept of {row['label']}: {', '.join(parts)}."


def _pictures(protocol: Mapping[str, Any]) -> str:
    roles = protocol.get("pictures") or {}
    words = {"evaluate": "that name it", "implicit": "that describe it", "evaluate-retain": "to keep"}
    return ", ".join(f"{roles[role]} pictures {text}" for role, text in words.items() if roles.get(role)) or "no pictures"


def _of(report: Report, concept: str) -> list[Mapping[str, Any]]:
    return [row for row in report["concepts"] if row["concept"] == concept]


def _ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Baselines, then methods from the best to the worst."""
    return [*(row for row in rows if row["label"] in BASELINES), *ranked(rows)]


def _cells(rows: Sequence[Mapping[str, Any]], names: Sequence[str], headings: Mapping[str, str] | None = None) -> list[list[str]]:
    """Heads and rows in order; columns that nobody has are left out."""
    rows = _ordered(rows)
    names = [name for name in names if any(name in row for row in rows)]
    heads = ["method", *((headings or {}).get(name) or COLUMNS[name][0] for name in names)]
    return [heads, *([row["label"] + _incomplete(row), *(number(row.get(name), name) for name in names)] for row in rows)]


def _incomplete(row: Mapping[str, Any]) -> str:
    """Says of a row with failures what its numbers are of."""
    if not row["failures"]:
        return ""
    return " (failed)" if not row["runs"] else f" ({row['runs']} run{'s' * (row['runs'] > 1)})"


def number(value: Mapping[str, float] | None, name: str) -> str:
    """Mean and deviation, with the digits that mean something."""
    if value is None:
        return "–"
    _, digits, unit = COLUMNS.get(name, ("", 1, 1.0))
    mean, std = (_rounded(value[part] / unit, digits) for part in ("mean", "std"))
    return f"{mean} ± {std}" if value["std"] else mean


def _rounded(value: float, digits: int | None) -> str:
    """With so many digits after the point; None: as many as make four in all."""
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(0, 4 - whole) if digits is None else digits}f}"


# --- the page -------------------------------------------------------------------------------------------------------


def page(report: Report, charts: Mapping[str, str], confused: Mapping[str, Sequence[str]], sheets: Mapping[str, str]) -> str:
    """The whole page, charts and sheets embedded."""
    protocol, concepts = report["protocol"], report["protocol"]["concepts"]
    parts = [_verdict(report, charts.get("scatter.svg", "")), _numbers(report)]
    for concept, pictures in sheets.items():
        words = "The same prompts and the same noise for every model, first seed; the first prompts of each kind, not chosen."
        parts.append(_section(f"What they draw: {concept}", f"<p>{words}</p>{pictures}"))
    parts += [_gaps(report), _relearning(report, charts.get("relearn.svg", ""))]
    parts += [_confused(concept, found) for concept, found in confused.items()]
    parts.append(_concepts(report))
    parts += [_failures(report), _protocol(protocol), _repeat(protocol.get("command"))]
    title = f"Erasing {', '.join(concepts)} from {str(protocol['model']).rstrip('/').split('/')[-1]}"
    count = sum(row["label"] not in BASELINES for row in report["methods"])
    words = f"{count} method{'s' * (count > 1)} on the same model, prompts and seeds"
    head = f"<header><p class=eyebrow>Bench of methods</p><h1>{_t(title)}</h1><p class=muted>{_t(words)}</p></header>"
    return PAGE.format(title=_t(title), style=_style(), body="\n".join([head, *filter(None, parts)]))


def _verdict(report: Report, chart: str) -> str:
    """What it comes to, and the picture of that."""
    of, *said = sentences(report)
    text = "".join(f"<li>{_t(sentence)}</li>" for sentence in said)
    words = "Upper right is good: the concept is gone and everything else is there." if chart else ""
    return _section("Forgetting against keeping", f"<p>{_t(of)}</p><ul>{text}</ul><p>{words}</p>{_chart(chart) if chart else ''}")


def _numbers(report: Report) -> str:
    """All columns, in two tables that fit a page."""
    rows = report["methods"]
    front = [row["label"] for row in rows if row.get("front")]
    cells = [_cells(rows, names) for names in (QUALITY, REST)]
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    about = "".join(f"<li>{_t(COLUMNS[name][0])}: {_t(MEANINGS[name])}</li>" for name in names)
    second = f"<h3>Beside the retrained model, relearning, cost</h3>{_table(cells[1], front)}" if len(cells[1][0]) > 1 else ""
    meant = f"<details><summary>What the columns mean</summary><ul class=small>{about}</ul></details>"
    below = " Below each number: one standard deviation over seeds." if len(report["protocol"]["seeds"]) > 1 else ""
    mark = f"<p class=small>● no other row is better in both ua and what is kept.{below}</p>"
    return _section("The numbers", f"<h3>Forgetting and keeping</h3>{_table(cells[0], front)}{second}{mark}{meant}")


def _table(cells: Sequence[Sequence[str]], front: Sequence[str] = ()) -> str:
    """A table whose numbers have their deviation below them; rows of the front are marked."""
    top = "".join(f"<th scope=col style='white-space:normal;vertical-align:bottom'>{_t(head)}</th>" for head in cells[0])
    body = ""
    for name, *values in cells[1:]:
        mark = "&nbsp;<span style='color:var(--good)'>●</span>" if name in front else ""
        inner = "".join(f"<td style='padding-left:12px'>{_lines(value.replace(' ± ', chr(10) + '± '))}</td>" for value in values)
        shown = _t(name).replace(":", ":<wbr>").replace(",", ",<wbr>")
        body += f"<tr><th scope=row style='max-width:15em;overflow-wrap:break-word'>{shown}{mark}</th>{inner}</tr>"
    return f"<div class=wide><table class='plain numbers'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _concepts(report: Report) -> str:
    """The worst concept of each row, then every concept alone; nothing for one concept."""
    names = report["protocol"]["concepts"]
    if len(names) < 2:
        return ""
    heads = ["method", "lowest ua", "lowest ira, % of before", "lowest cra, % of before"]
    cells = [heads]
    for row in ranked(report["methods"]):
        found = [row.get("worst", {}).get(name) for name in ("ua", "ira_kept", "cra_kept")]
        cells.append([row["label"], *(f"{one['value']:.1f} ± {one['concept']}" if one else "–" for one in found)])
    worst = _table(cells).replace("± ", "")
    inner = "".join(f"<h3>{_t(name)}</h3>{_table(_cells(_of(report, name), (*QUALITY, 'average_gap')))}" for name in names)
    return _section("Each concept alone", f"<h3>The worst concept of each method</h3>{worst}{inner}")


def _gaps(report: Report) -> str:
    cells = _cells(report["methods"], tuple(GAPS), GAPS)
    cells = [row for row in cells if row[0] not in BASELINES]
    if len(cells[0]) == 1:
        return ""
    words = (
        "The retrained model never saw the concept in training: the one thing that forgetting can be held against. "
        "Points between it and each method, concept by concept and seed by seed, then averaged."
    )
    return _section("Distance to the retrained model", f"<p>{words}</p>{_table(cells)}")


def _relearning(report: Report, chart: str) -> str:
    if not chart:
        return ""
    facts = report["protocol"].get("relearning") or {}
    how = f" Adam, learning rate {facts['relearn_rate']:g}, {facts['relearn_batch']} pictures a step." if facts.get("relearn_rate") else ""
    words = (
        "Each erased model is fine-tuned on the pictures of the concept, all weights of its UNet free: what is only hidden comes back "
        f"at once.{how} A concept counts as back where {BACK:g} % of the original's pictures of it are."
    )
    return _section("Relearning", f"<p>{_t(words)}</p>{_chart(chart)}")


def _confusions(report: Report, tables: Mapping[str, Any]) -> dict[str, list[str]]:
    order = [row["label"] for row in _ordered(report["methods"])]
    return {concept: [confusion(found[label], label, concept) for label in order if label in found] for concept, found in tables.items()}


def _confused(concept: str, charts: Sequence[str]) -> str:
    words = (
        "Asked on the left, seen by the detector below, in percent of the pictures of each line. Green on the diagonal is as asked; "
        f"red beside it is a neighbour that became something else. The line of “{concept}” shows what is drawn in its place."
    )
    inner = "".join(f"<figure style='flex:0 1 auto;max-width:100%'>{chart}</figure>" for chart in charts)
    shown = f"<div style='display:flex;flex-wrap:wrap;gap:24px 32px;overflow-x:auto'>{inner}</div>"
    return _section(f"What the neighbours became: {concept}", f"<p>{_t(words)}</p>{shown}")


def _failures(report: Report) -> str:
    cells = [
        [row["label"], f"{one['concept']}, seed {one['seed']}", one["failure"]] for row in report["methods"] for one in row["failures"]
    ]
    return _section("Failures", _rows(("method", "run", "what it said"), cells)) if cells else ""


def _chart(chart: str) -> str:
    """No larger than it was drawn."""
    width = re.search(r'width="([\d.]+)"', chart)
    sized = chart.replace("<svg ", f'<svg style="max-width:{width[1]}px" ', 1) if width else chart
    return f"<div class=chart>{sized}</div>"


# --- pictures -------------------------------------------------------------------------------------------------------


def sheet(folder: Path, concept: str, report: Report, lines: Sequence[Line]) -> str:
    """All models in one grid, from the first seed on which any of them came through: as sheet-<concept>.png, and for the page."""
    fine = [one for one in lines if one["concept"] == concept and not one.get("failure")]
    if not fine:
        return ""
    seed = fine[0]["seed"]
    order = {row["label"]: i for i, row in enumerate(_ordered(report["methods"]))}
    runs = {one["label"]: Path(one["folder"]) for one in sorted(fine, key=lambda one: order[one["label"]]) if one["seed"] == seed}
    first = next(iter(runs.values()))
    sets = {ORIGINAL: Run.read(first).samples("before"), **{label: Run.read(run).samples("after") for label, run in runs.items()}}
    rows, hide = read_prompts(first), Run.read(first).options["concept_file"]["detector"] == "nudenet"
    pictures = {label: read_images(place) for label, place in sets.items()}
    blocks = []
    for role, (_, colour) in PANELS.items():
        places = [i for i, row in enumerate(rows) if row["role"] == role][: SHOWN[role]]
        look = blurred if hide and role != "evaluate-retain" else open_picture
        drawn = [[look(found[i].path) for i in places] for found in pictures.values()]
        blocks.append(Block(HEADINGS[role].format(f'"{concept}"'), colour, [rows[i]["text"] for i in places], drawn))
    path = folder / f"sheet-{''.join(c if c.isalnum() or c in '-_' else '-' for c in concept)}.png"
    note = f"Seed {seed}. In each column the same prompt and the same noise. The first prompts of each kind, not chosen."
    grid(path, f'"{concept}": every model on the same prompts', note, list(sets), blocks)
    return as_html(list(sets), blocks)


def command(words: Sequence[str]) -> str:
    """What repeats it."""
    return shlex.join(words)
