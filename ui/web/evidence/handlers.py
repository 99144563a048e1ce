"""What Evidence does: the report of one run, several runs side by side, and a measurement by a named protocol.

Plain functions, without gradio. Reports are rendered from the numbers and images of a run folder: what somebody has put into its
report.html is not shown, and nudity is blurred whatever the run's own setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object
from erase.run import Run, read_lines
from eval.attacks.report_section import section
from eval.compare import as_csv, scatter_svg
from eval.compare import compare as rows_of
from eval.protocols import list_protocols, load_protocol
from eval.rendering.charts import change_bars
from eval.rendering.html import command, shows_nudity
from eval.rendering.html import page as page_of
from eval.rendering.verdict import number, title
from eval.samples import WHICH, read_prompts, samples_of
from ui.web.context import Page
from ui.web.drawing.downloads import Document, links
from ui.web.jobs.entry import DONE, STATES, WAITING, Entry, failure
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


# --- one run ----------------------------------------------------------------------------------------------------------


def report_frame(page: Page, name: str | None, show: bool) -> str:
    """The report in a frame of its own, in which no script runs."""
    if not name:
        return '<p class="muted">No finished run yet. Create one in the tab Erase, or with: erase-concept --concept star</p>'
    folder = folder_of(page, name)
    text = _report_page(folder, (folder / "report.json").stat().st_mtime_ns, bool(show))
    return f'<iframe class="frame" sandbox title="Report of {escape(folder.name)}" srcdoc="{escape(text)}"></iframe>'


@lru_cache(maxsize=8)
def _report_page(folder: Path, stamp: int, show: bool) -> str:
    """The page of a report; `stamp` is the version of report.json, so that a newer one is read."""
    report = _json(folder / "report.json")
    run = Run.read(folder)
    rows = read_prompts(folder)
    images = {which: samples_of(run, which, rows) for which in WHICH}
    records, steps = read_lines(folder / "records.jsonl"), read_lines(folder / "stats.jsonl")
    attacks = [section(folder, shows_nudity(report) and not show)]
    return page_of(report, rows, images, show, records, steps, command(report, run.options), attacks)


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} of {path.parent.name} cannot be read ({error}); evaluate that run again") from None


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


# --- measuring by a protocol ------------------------------------------------------------------------------------------


def protocol_choices() -> list[tuple[str, str]]:
    """(name: what it is, name) of the named protocols."""
    return [(f"{p.name}: {p.pictures} pictures, {p.model}", p.name) for p in list_protocols()]


def protocol_words(name: str | None) -> tuple[str, bool]:
    """What a protocol fixes, in a few lines of HTML; and whether its prompts are a file that the visitor must have."""
    if not name:
        return "", False
    p = load_protocol(_listed(name))
    needs_file = p.prompts_from == "file"
    data = f" Its prompts are third-party data: {p.file or 'a file'}. {p.where}" if needs_file else ""
    how = f"{p.sampler}, {p.steps} steps, guidance {p.guidance:g}, {p.size} pixels; measures: {', '.join(p.metrics)}."
    about = f"{p.about[:1].upper()}{p.about[1:].rstrip('.')}. {how}{data}"
    return f"<p>{escape(about)}</p><p class='muted'>{escape('; '.join(p.sources))}</p>", needs_file


@dataclass(frozen=True)
class MeasurementRequest:
    """The values of the form. `count`: images of the concept, where no protocol fixes them."""

    run: str | None
    protocol: str | None = ""
    prompts: str = ""
    count: float | None = None


def measure(page: Page, request: MeasurementRequest, owner: str) -> Entry:
    """Queue an evaluation of a run: by a named protocol, or by the concept's own prompts where none is chosen."""
    folder, protocol = folder_of(page, request.run), request.protocol
    arguments = ["evaluate", str(folder), "--device", page.device]
    if protocol:
        arguments += ["--protocol", load_protocol(_listed(protocol)).name]
    if protocol and request.prompts.strip():
        arguments += ["--prompts", str(page.inside(request.prompts))]
    elif not protocol and request.count:
        arguments += ["--count", str(int(request.count))]
    output = _room(page, f"{folder.name}-{protocol or 'again'}")
    page.rate.click(owner)
    return page.jobs.add([*arguments, "--output", str(output)], output, f"measure {folder.name} by {protocol or 'its prompts'}", owner)


def _room(page: Page, name: str) -> Path:
    """A folder for an evaluation; another one where that name belongs to another visitor."""
    names = [name, *(f"{name}-{n}" for n in range(2, 100))]
    return next(page.runs / other for other in names if page.runs.resolve() / other not in page.closed)


def _listed(protocol: str) -> str:
    """A protocol of the list: a path would read any file."""
    if protocol not in [value for _, value in protocol_choices()]:
        raise InputError(f"{protocol[:80]!r} is not a named protocol; choose one from the list")
    return protocol


def measured(page: Page, id: str) -> tuple[str, bool]:
    """The progress of an evaluation as HTML, and whether it is waiting or running."""
    entry = page.jobs.get(id)
    if entry is None:
        return "", False
    if entry.state == DONE:
        return f'<p role="status">Done: choose {escape(Path(entry.output).name)} under One run or Several runs.</p>', False
    if not entry.active:
        return f'<p role="alert" class="problem">{escape(failure(entry) if entry.message else STATES[entry.state])}</p>', False
    ahead = page.jobs.ahead(id)
    if entry.state == WAITING:
        place = f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before it" if ahead else "it starts next"
        return f'<p role="status">Queued: {place}.</p><progress aria-label="waiting in the queue"></progress>', True
    done, total = images_done(Path(entry.output))
    title = f"{entry.title[:1].upper()}{entry.title[1:]}"
    if not total:
        return f'<p role="status">{escape(title)}: starting.</p><progress aria-label="starting"></progress>', True
    bar = f'<progress value="{done}" max="{total}" aria-label="images drawn and measured"></progress>'
    return f'<p role="status">{escape(title)}: {done} of {total} images drawn.</p>{bar}', True


def images_done(folder: Path) -> tuple[int, int]:
    """Of an evaluation: images drawn by both models, and how many there will be."""

    def lines(path: Path) -> int:
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    samples = folder / "samples"
    return sum(lines(samples / which / "manifest.jsonl") for which in WHICH), 2 * lines(samples / "prompts.jsonl")
