"""A bench as files: one HTML page with everything in it, Markdown, JSON, charts and picture sheets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import write_json, written
from erase.images import open_picture, read_images
from erase.run import Run, disk_errors
from eval.bench.charts import confusion, curves, scatter
from eval.bench.sheet import Block, as_html, grid
from eval.bench.summary import BACK, BASELINES, MEANINGS, ORIGINAL, Line, confusions, ranked
from eval.bench.tables import COLUMNS, QUALITY, REST, cells_of, markdown, of_concept, ordered, sentences
from eval.rendering.html import framed, protocol_section, repeat_section, safe, small, tabled, titled
from eval.report import PANELS, blurred
from eval.samples import read_prompts

GAPS = {"gap_ua": "ua", "gap_ua_implicit": "ua described", "gap_ira": "ira", "gap_cra": "cra", "gap_attributes_kept": "attributes"}
GAPS |= {"average_gap": "mean of these", "gap_clip_score": "CLIP", "frechet_gold": "Fréchet distance"}
SHOWN = {"evaluate": 4, "implicit": 2, "evaluate-retain": 6}  # columns of the sheet
HEADINGS = {"evaluate": "{}, named", "implicit": "{}, described", "evaluate-retain": "to keep: other prompts"}

Report = Mapping[str, Any]


def write(folder: Path, report: Report, lines: Sequence[Line]) -> None:
    """report.json, report.md, report.html, scatter.svg, relearn.svg, confusion-*.svg and sheet-*.png."""
    tables = confusions(lines)
    charts = {
        "scatter.svg": scatter(ordered(report["methods"]), "Forgetting against keeping"),
        "relearn.svg": curves(ordered(report["methods"])),
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


# --- the page -------------------------------------------------------------------------------------------------------


def page(report: Report, charts: Mapping[str, str], confused: Mapping[str, Sequence[str]], sheets: Mapping[str, str]) -> str:
    """The whole page, charts and sheets embedded."""
    protocol, concepts = report["protocol"], report["protocol"]["concepts"]
    parts = [_verdict(report, charts.get("scatter.svg", "")), _numbers(report)]
    for concept, pictures in sheets.items():
        words = "The same prompts and the same noise for every model, first seed; the first prompts of each kind, not chosen."
        parts.append(titled(f"What they draw: {concept}", f"<p>{words}</p>{pictures}"))
    parts += [_gaps(report), _relearning(report, charts.get("relearn.svg", ""))]
    parts += [_confused(concept, found) for concept, found in confused.items()]
    parts.append(_concepts(report))
    parts += [_failures(report), protocol_section(protocol), repeat_section(protocol.get("command"))]
    title = f"Erasing {', '.join(concepts)} from {str(protocol['model']).rstrip('/').split('/')[-1]}"
    count = sum(row["label"] not in BASELINES for row in report["methods"])
    words = f"{count} method{'s' * (count > 1)} on the same model, prompts and seeds"
    return framed(title, "Bench of methods", words, parts)


def _verdict(report: Report, chart: str) -> str:
    """What it comes to, and the picture of that."""
    of, *said = sentences(report)
    text = "".join(f"<li>{safe(sentence)}</li>" for sentence in said)
    words = "Upper right is good: the concept is gone and everything else is there." if chart else ""
    return titled("Forgetting against keeping", f"<p>{safe(of)}</p><ul>{text}</ul><p>{words}</p>{_chart(chart) if chart else ''}")


def _numbers(report: Report) -> str:
    """All columns, in two tables that fit a page."""
    rows = report["methods"]
    front = [row["label"] for row in rows if row.get("front")]
    cells = [cells_of(rows, names) for names in (QUALITY, REST)]
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    about = "".join(f"<li>{safe(COLUMNS[name][0])}: {safe(MEANINGS[name])}</li>" for name in names)
    second = f"<h3>Beside the retrained model, relearning, cost</h3>{_table(cells[1], front)}" if len(cells[1][0]) > 1 else ""
    meant = f"<details><summary>What the columns mean</summary><ul class=small>{about}</ul></details>"
    below = " Below each number: one standard deviation over seeds." if len(report["protocol"]["seeds"]) > 1 else ""
    mark = f"<p class=small>● no other row is better in both ua and what is kept.{below}</p>"
    return titled("The numbers", f"<h3>Forgetting and keeping</h3>{_table(cells[0], front)}{second}{mark}{meant}")


def _table(cells: Sequence[Sequence[str]], front: Sequence[str] = ()) -> str:
    """A table whose numbers have their deviation below them; rows of the front are marked."""
    top = "".join(f"<th scope=col style='white-space:normal;vertical-align:bottom'>{safe(head)}</th>" for head in cells[0])
    body = ""
    for name, *values in cells[1:]:
        mark = "&nbsp;<span style='color:var(--good)'>●</span>" if name in front else ""
        inner = "".join(f"<td style='padding-left:12px'>{small(value.replace(' ± ', chr(10) + '± '))}</td>" for value in values)
        shown = safe(name).replace(":", ":<wbr>").replace(",", ",<wbr>")
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
    inner = "".join(f"<h3>{safe(name)}</h3>{_table(cells_of(of_concept(report, name), (*QUALITY, 'average_gap')))}" for name in names)
    return titled("Each concept alone", f"<h3>The worst concept of each method</h3>{worst}{inner}")


def _gaps(report: Report) -> str:
    cells = cells_of(report["methods"], tuple(GAPS), GAPS)
    cells = [row for row in cells if row[0] not in BASELINES]
    if len(cells[0]) == 1:
        return ""
    words = (
        "The retrained model never saw the concept in training: the one thing that forgetting can be held against. "
        "Points between it and each method, concept by concept and seed by seed, then averaged"
    )
    partly = next((row["gap_over"] for row in report["methods"] if "gap_over" in row), None)
    words += f" over the concepts that have one: {safe(', '.join(partly))}." if partly else "."
    return titled("Distance to the retrained model", f"<p>{words}</p>{_table(cells)}")


def _relearning(report: Report, chart: str) -> str:
    if not chart:
        return ""
    facts = report["protocol"].get("relearning") or {}
    how = f" Adam, learning rate {facts['relearn_rate']:g}, {facts['relearn_batch']} pictures a step." if facts.get("relearn_rate") else ""
    words = (
        "Each erased model is fine-tuned on the pictures of the concept, all weights of its UNet free: what is only hidden comes back "
        f"at once.{how} A concept counts as back where {BACK:g} % of the original's pictures of it are."
    )
    return titled("Relearning", f"<p>{safe(words)}</p>{_chart(chart)}")


def _order(report: Report) -> list[str]:
    """Of all labels; the retrained model has its place also where it has no row over all concepts."""
    return [*BASELINES, *(row["label"] for row in ranked(report["methods"]))]


def _confusions(report: Report, tables: Mapping[str, Any]) -> dict[str, list[str]]:
    order = _order(report)
    return {concept: [confusion(found[label], label, concept) for label in order if label in found] for concept, found in tables.items()}


def _confused(concept: str, charts: Sequence[str]) -> str:
    words = (
        "Asked on the left, seen by the detector below, in percent of the pictures of each line. Green on the diagonal is as asked; "
        f"red beside it is a neighbour that became something else. The line of “{concept}” shows what is drawn in its place."
    )
    inner = "".join(f"<figure style='flex:0 1 auto;max-width:100%'>{chart}</figure>" for chart in charts)
    shown = f"<div style='display:flex;flex-wrap:wrap;gap:24px 32px;overflow-x:auto'>{inner}</div>"
    return titled(f"What the neighbours became: {concept}", f"<p>{safe(words)}</p>{shown}")


def _failures(report: Report) -> str:
    cells = [
        [row["label"], f"{one['concept']}, seed {one['seed']}", one["failure"]] for row in report["methods"] for one in row["failures"]
    ]
    return titled("Failures", tabled(("method", "run", "what it said"), cells)) if cells else ""


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
    order = _order(report)
    runs = {one["label"]: Path(one["folder"]) for one in sorted(fine, key=lambda one: order.index(one["label"])) if one["seed"] == seed}
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
