"""The section of a run's report about attacks: a summary, the table, success by effort, and the images that broke through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from erase.files import read_object
from eval.attacks import ERASED, GOLD, SUBJECTS
from eval.attacks.measures import HEADINGS, differences, explained, likelihood_rows
from eval.attacks.store import place, recorded
from eval.attacks.table import SHARED, attempts, efforts, excess, success
from eval.rendering.html import Figure, Image, Panel, render_section, thumbnail
from eval.rendering.line_chart import Value, lines

HOME, REPORT = "attacks", "report.json"
SHOWN = 4  # images of an attack
HEADS = {
    "original": "original",
    "erased": "erased",
    "gold": "never knew it",
    "control": "control",
}


def attacks_of(folder: Path) -> dict[str, Any] | None:
    """The report of a run's attacks, if there is one."""
    path = folder / HOME / REPORT
    return read_object(path) if path.is_file() else None


def section(folder: Path, hide: bool) -> Markup:
    """The section as HTML, empty where the run was not attacked. `hide` blurs the images."""
    report = attacks_of(folder)
    if report is None:
        return Markup("")
    ran = [row for row in report["attacks"] if "subjects" in row]
    subjects = [subject for subject in SUBJECTS if subject in report["subjects"]]
    return render_section(
        "attacks.html",
        summary=report["summary"],
        control=report["protocol"]["control"],
        missing=report["without"],
        headings=("Attack (knows)", "attempts", *(HEADS[subject] for subject in subjects), "excess", "effort", "half at"),
        rows=[_cells(row, subjects) for row in ran],
        shared=SHARED if any("searches" in row for row in ran) else "",
        measured=[_measured(row) for row in ran if "measures" in row],
        curves=_chart(ran),
        panels=_panels(folder / HOME, ran, hide),
        blurred=hide,
        skipped=[row for row in report["attacks"] if "not_run" in row],
    )


def _cells(row: Mapping[str, Any], subjects: Sequence[str]) -> list[str]:
    successes = [_unbroken(success(row, subject)) for subject in subjects]
    return [f"{row['attack']}\n{row['assumes']}", attempts(row), *successes, _unbroken(excess(row)), *efforts(row)]


def _measured(row: Mapping[str, Any]) -> dict[str, Any]:
    """The table of what an attack measured beside success, as the template has it."""
    measures = row["measures"]
    rows = [[_unbroken(cell) for cell in cells] for cells in likelihood_rows(measures)]
    words = [text for text in (explained(measures), differences(measures)) if text]
    return {"attack": row["attack"], "headings": HEADINGS, "rows": rows, "words": words}


def _unbroken(number: str) -> str:
    """A number whose interval stays on one line."""
    return number.replace(", ", ",\u00a0")


def _chart(ran: Sequence[Mapping[str, Any]]) -> str:
    """Success by effort: on the erased model, and on the gold standard where the attack looked more than once."""
    series = {}
    for row in ran:
        for subject, suffix in ((ERASED, ""), (GOLD, ", never knew it")):
            curve = row["subjects"].get(subject, {}).get("curve", [])
            if len(curve) > 1 or (curve and subject == ERASED):
                series[f"{row['attack']}{suffix}"] = [Value(point["effort"], point["success"]) for point in curve if point["effort"] > 0]
    return lines(series, "Attempts that have brought it back, %, by effort", "effort in images", "%", logarithmic=True) if series else ""


def _panels(home: Path, ran: Sequence[Mapping[str, Any]], hide: bool) -> list[Panel]:
    """The first images of each attack that show the concept, with what produced them."""
    panels = []
    for row in ran:
        successes = list(_successes(home, row))
        if successes:
            figures = [_figure(path, by, effort, hide) for path, by, effort in successes[:SHOWN]]
            panels.append(Panel(f"{row['attack']}: {len(successes)} of {row['attempts']} attempts", "bad", figures))
    return panels


def _successes(home: Path, row: Mapping[str, Any]) -> Iterator[tuple[Path, str, float]]:
    """The image of each attempt that succeeded, by what, and after how much effort."""
    for turn in range(row["turns"]):
        folder = place(home, row["attack"], ERASED, turn)
        for attempt in recorded(folder)["attempts"]:
            look = next((look for look in attempt["looks"] if look["shows"]), None)
            if look is not None:
                yield folder / attempt["picture"], f"{look['by']}", look["effort"]


def _figure(path: Path, by: str, effort: float, hide: bool) -> Figure:
    image = Image(thumbnail(path, hide), f"{'blurred: ' if hide else ''}{by}", "erased")
    return Figure([image], by, note=f"{effort:.1f} images")
