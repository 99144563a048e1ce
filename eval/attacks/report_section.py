"""The attacks' part of a run's report: what it comes to, the table, success by effort, and what broke through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.attacks import ERASED, GOLD, SUBJECTS
from eval.attacks.store import place, recorded
from eval.attacks.table import efforts, excess, success
from eval.rendering.html import safe, tabled, thumbnail, titled
from eval.rendering.line_chart import Value, lines

HOME, REPORT = "attacks", "report.json"
SHOWN = 4  # pictures of an attack
HEADS = {
    "original": "original",
    "erased": "erased",
    "gold": "never knew it",
    "control": "control",
}


def attacks_of(folder: Path) -> dict[str, Any] | None:
    """The report of a run's attacks, if there is one."""
    path = folder / HOME / REPORT
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def section(folder: Path, hide: bool) -> str:
    """The section, empty where nothing was attacked. `hide` blurs the pictures."""
    report = attacks_of(folder)
    if report is None:
        return ""
    ran = [row for row in report["attacks"] if "subjects" in row]
    body = f"<p>{safe(report['summary'])}</p>" + _table(report, ran) + _chart(ran) + _broken(folder / HOME, ran, hide)
    idle = [f"<li>{safe(row['attack'])}: {safe(row['not_run'])}</li>" for row in report["attacks"] if "not_run" in row]
    body += f"<h3>Not made</h3><ul>{''.join(idle)}</ul>" if idle else ""
    return titled("Attacks", body)


def _table(report: Mapping[str, Any], ran: Sequence[Mapping[str, Any]]) -> str:
    subjects = [subject for subject in SUBJECTS if subject in report["subjects"]]
    about = (
        "How often an attack brings the concept back, in percent of its attempts with the 95 % interval. An optimiser that is strong "
        "enough can make any model draw anything: what counts is the excess over the model that was trained without the concept, "
        "with the same attempts. The control aims the same attack at something else, "
        f"{report['protocol']['control'] or 'which this run has not'}: what the detector then takes for the concept is its own mistake. "
        "Effort is in pictures: as many passes through the UNet as drawing so many takes."
    )
    missing = "".join(f"<p class=small>No {safe(subject)}: {safe(why)}.</p>" for subject, why in report["without"].items())
    heads = ("Attack (knows)", "attempts", *(HEADS[subject] for subject in subjects), "excess", "effort", "half at")
    cells = [
        [
            f"{row['attack']}\n{row['assumes']}",
            str(row["attempts"]),
            *(_whole(success(row, s)) for s in subjects),
            _whole(excess(row)),
            *efforts(row),
        ]
        for row in ran
    ]
    return f"<p>{safe(about)}</p>{missing}{tabled(heads, cells)}" if ran else missing


def _whole(number: str) -> str:
    """A number whose interval is not torn in two."""
    return number.replace(", ", ",\u00a0")


def _chart(ran: Sequence[Mapping[str, Any]]) -> str:
    """Success by effort, on the erased model and, for those with more than one look, beside it on the gold standard."""
    series = {}
    for row in ran:
        for subject, said in ((ERASED, ""), (GOLD, ", never knew it")):
            curve = row["subjects"].get(subject, {}).get("curve", [])
            if len(curve) > 1 or (curve and subject == ERASED):
                series[f"{row['attack']}{said}"] = [Value(point["effort"], point["success"]) for point in curve if point["effort"] > 0]
    chart = lines(series, "Attempts that have brought it back, %, by effort", "effort in pictures", "%", logarithmic=True) if series else ""
    return f"<div class=chart>{chart}</div>" if chart else ""


def _broken(home: Path, ran: Sequence[Mapping[str, Any]], hide: bool) -> str:
    """The first pictures of each attack that show the concept, with what they were had by."""
    panels = []
    for row in ran:
        found = list(_finds(home, row))
        figures = [_figure(path, by, effort, hide) for path, by, effort in found[:SHOWN]]
        if figures:
            title = f"{row['attack']}: {len(found)} of {row['attempts']} attempts"
            panels.append(f"<div class='panel bad'><h3>{safe(title)}</h3><div class=pictures>{''.join(figures)}</div></div>")
    blurred = " They are blurred." if hide and panels else ""
    about = f"<p>What broke through: the first pictures of each attack on the erased model that show the concept.{blurred}</p>"
    return about + "".join(panels) if panels else "<p>Nothing broke through.</p>"


def _finds(home: Path, row: Mapping[str, Any]) -> Iterator[tuple[Path, str, float]]:
    """The picture of each attempt that succeeded, by what, and after how much effort."""
    for turn in range(row["turns"]):
        folder = place(home, row["attack"], ERASED, turn)
        for attempt in recorded(folder)["attempts"]:
            look = next((look for look in attempt["looks"] if look["shows"]), None)
            if look is not None:
                yield folder / attempt["picture"], f"{look['by']}", look["effort"]


def _figure(path: Path, by: str, effort: float, hide: bool) -> str:
    alt = f"{'blurred: ' if hide else ''}{by}"
    said = f"<figcaption>{safe(by)} <span class=muted>{effort:.1f} pictures</span></figcaption>"
    return f'<figure><img src="{thumbnail(path, hide)}" alt="{safe(alt)}" class=erased>{said}</figure>'
