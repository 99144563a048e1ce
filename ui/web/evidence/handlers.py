"""What Evidence does: several runs side by side. Plain functions, without gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object
from eval.compare import as_csv, scatter_svg
from eval.compare import compare as rows_of
from eval.rendering.charts import change_bars
from eval.rendering.verdict import number, title
from eval.samples import WHICH
from ui.web.context import Page
from ui.web.drawing.downloads import Document, links
from ui.web.runs import visible_runs

FIRST_COLUMNS = ("ua", "ua_implicit", "ira", "cra", "fid", "clip_score")
MOST = 12  # runs side by side


def reported(page: Page) -> list[str]:
    """Names of the visitor's runs and evaluations that have a report, newest first."""
    files = ("report.json", "samples/prompts.jsonl")  # tables of several methods have reports too, of another form
    folders = [folder for folder in visible_runs(page) if all((folder / name).is_file() for name in files)]
    return [folder.name for folder in sorted(folders, key=lambda folder: -(folder / "report.json").stat().st_mtime)]


def folder_of(page: Page, name: str | None) -> Path:
    """A run by its name; only names that `reported` lists are opened."""
    if name not in reported(page):
        raise InputError(f"{str(name)[:80]!r} is not a finished run here; choose one from the list")
    return page.runs / str(name)


# --- several runs -----------------------------------------------------------------------------------------------------


def compared(page: Page, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of eval.compare for the chosen runs."""
    if len(names) > MOST:
        raise InputError(f"{len(names)} runs are chosen; expected at most {MOST}")
    return rows_of([folder_of(page, name) for name in names])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per run: each measure before → after, with its interval; its protocol, and how that differs from the first."""
    others = sorted({name for row in rows for name in row["metrics"]} - {*FIRST_COLUMNS})
    names = [*(name for name in FIRST_COLUMNS if any(name in row["metrics"] for row in rows)), *others]
    heads = ["Run", "Concept", "Method", "Seed", "Protocol", *map(title, names)]
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(_line(row, names) for row in rows)
    differing = {row["protocol"]: row["differs"] for row in rows if row["differs"]}
    notes = "".join(f"<li>{escape(letter)}: {escape('; '.join(differs))}</li>" for letter, differs in sorted(differing.items()))
    warning = "Protocols differ, so numbers are not comparable across letters"
    warned = f"<details><summary>{warning}</summary><ul class='notes'>{notes}</ul></details>" if notes else ""
    legend = '<p class="muted">Original → erased [95% interval].</p>'
    wide = '<div class="wide" tabindex="0" role="region" aria-label="runs side by side">'
    return f'{wide}<table class="runs"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{legend}{warned}'


def _line(row: Mapping[str, Any], names: Sequence[str]) -> str:
    method = " ".join(str(row[name]) for name in ("method", "preset") if row.get(name)) or "–"
    cells = [row["concept"], method, "–" if row["seed"] is None else row["seed"], row["protocol"]]
    html = [escape(str(cell)) for cell in cells] + [_both(row["metrics"].get(name), name) for name in names]
    return f'<tr><th scope="row">{escape(str(row["run"]))}</th>{"".join(f"<td>{cell}</td>" for cell in html)}</tr>'


def _both(metric: Mapping[str, Any] | None, name: str) -> str:
    """Before → after, and the interval of after below."""
    if metric is None:
        return "–"
    before = number({**metric["before"], "low": None}, name) + " → " if metric["before"] else ""
    value, _, ends = number(metric["after"], name).partition(" ")
    return f"{escape(before + value)}<br><small>{escape(ends)}</small>"


def charts(page: Page, rows: Sequence[Mapping[str, Any]]) -> str:
    """Forgetting against keeping, and for each run that counted exposed parts the change of their numbers."""
    try:
        parts = [f'<div class="chart" tabindex="0">{scatter_svg(rows)}</div>']
    except InputError as error:
        parts = [f'<p class="muted">{escape(str(error))}</p>']
    for row in rows:
        report = _json(folder_of(page, Path(row["folder"]).name) / "report.json")
        before, after = ((report.get(which) or {}).get("detections") or {} for which in WHICH)
        none = {"boxes": 0}
        counts = {_plain(label): (before.get(label, none)["boxes"], after.get(label, none)["boxes"]) for label in {**before, **after}}
        if counts:
            heading = f"Exposed parts, {row['run']}: change of the number of boxes"
            parts.append(f'<h3>{escape(heading)}</h3><div class="chart" tabindex="0">{change_bars(counts, heading)}</div>')
    return "".join(parts)


def _plain(label: str) -> str:
    return label.removesuffix("_EXPOSED").replace("_", " ").capitalize()


def comparison_files(page: Page, rows: Sequence[Mapping[str, Any]]) -> str:
    """Links to the table as CSV and, where there is one, to the chart."""
    files = [("runs.csv", "Table (csv)", as_csv(rows))]
    with suppress(InputError):
        files.append(("forgetting.svg", "Chart (svg)", scatter_svg(rows)))
    return " ".join(links(page.downloads.put(Document(name, text.encode())), [(name, words)]) for name, words, text in files)


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} of {path.parent.name} cannot be read ({error}); evaluate that run again") from None
