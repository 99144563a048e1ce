"""report.html of a run: its sections in order."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from erase.concepts.record import names_of
from erase.files import read_object, written
from erase.files.disk import disk_errors
from erase.images import Picture
from erase.run import read_lines
from eval.rendering.html.environment import render_page
from eval.rendering.html.numbers import became_of, concepts_of, detections_of, neighbours_table, numbers_of
from eval.rendering.html.pictures import COLUMNS, pairs, panels_of
from eval.rendering.html.sections import cost_of, protocol_entries, verdict_of
from eval.rendering.html.worse import Worse, worse_of
from eval.rendering.losses import losses_of
from eval.samples import Row


def write_html(
    folder: Path,
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool = False,
    records: Sequence[Mapping[str, Any]] | None = None,
    more: Sequence[Markup] = (),
) -> Path:
    """Write `folder`/report.html and return its path.

    `rows` are the prompts; `pictures` holds one image per prompt under "before" and "after". stats.jsonl and options.json of
    the folder are used where they exist. `records` (default: records.jsonl) holds what the detector decided per image:
    {"index", "role", "ok_before", "ok_after"}. ok means: the concept is absent (prompts to forget), or all that the prompt
    asks for is present (prompts to keep). Images of nudity are blurred unless `uncensored`: those of prompts to forget, and
    those whose record has "exposed_before" or "exposed_after". `more` are rendered sections, e.g. that of the attacks.
    """
    decided = read_lines(folder / "records.jsonl") if records is None else records
    path = folder / "report.html"
    options = _json(folder / "options.json")
    text = page(report, rows, pictures, uncensored, decided, read_lines(folder / "stats.jsonl"), command(report, options), more)
    with disk_errors(path), written(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return path


def page(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool = False,
    records: Iterable[Mapping[str, Any]] = (),
    steps: Sequence[Mapping[str, Any]] = (),
    repeat: str | None = None,
    more: Sequence[Markup] = (),
) -> str:
    """The whole page; for the arguments see write_html. The same arguments give the same text."""
    known = {int(record["index"]): record for record in records}
    pair = pairs(report, rows, pictures, known, uncensored)
    return render_page(
        "report.html",
        **_heading(report),
        bare=False,
        verdict=verdict_of(report),
        panels=panels_of(report, rows, pair),
        panel_columns=COLUMNS,
        judged=bool(known),
        **_numbers(report, worse_of(rows, known, pair), steps),
        more=[section for section in more if section],
        protocol=protocol_entries(report.get("protocol") or {}),
        repeat=repeat,
    )


def numbers_page(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool,
    records: Iterable[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
) -> str:
    """The sections of the page with its numbers, to stand in another page: no heading, verdict or protocol."""
    known = {int(record["index"]): record for record in records}
    worse = worse_of(rows, known, pairs(report, rows, pictures, known, uncensored))
    return render_page("report.html", **_heading(report), **_numbers(report, worse, steps), **_without("numbers"))


def protocol_page(report: Mapping[str, Any], repeat: str | None) -> str:
    """The section with the protocol and the command, to stand in another page."""
    protocol = protocol_entries(report.get("protocol") or {})
    return render_page("report.html", **_heading(report), **_without("protocol") | {"protocol": protocol, "repeat": repeat})


def _heading(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": f"“{report.get('concept')}” erased from {str(report.get('model')).rstrip('/').split('/')[-1]}",
        "kind": "Evaluation of an erased concept",
        "about": " · ".join(str(report[name]) for name in ("method", "preset") if report.get(name)),
    }


def _numbers(report: Mapping[str, Any], worse: Worse | None, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of the template that are numbers of the report."""
    return {
        "detections": detections_of(report),
        "numbers": numbers_of(report),
        "concepts": concepts_of(report),
        "became": became_of(report),
        "neighbours": neighbours_table(report.get("neighbours")),
        "worse": worse,
        "losses": losses_of(steps, report.get("method") in (None, "scissorhands")),
        "cost": cost_of(report),
    }


def _without(part: str) -> dict[str, Any]:
    """Nothing for every value of the template that a page of only this part does not show."""
    empty: dict[str, Any] = {
        "bare": True,
        "verdict": None,
        "panels": [],
        "panel_columns": COLUMNS,
        "judged": False,
        "more": [],
        "repeat": None,
    }
    if part == "numbers":
        return empty | {"protocol": []}
    nothing = dict.fromkeys(("detections", "numbers", "concepts", "became", "neighbours", "worse", "losses"))
    return empty | nothing | {"cost": cost_of({})}


def command(report: Mapping[str, Any], options: Mapping[str, Any] | None) -> str | None:
    """The command that repeats it: `report["command"]`, else the main job from a run's options.json; None without either."""
    if report.get("command"):
        words = report["command"]
        return words if isinstance(words, str) else shlex.join(map(str, words))
    if not options or not isinstance(options.get("method_options"), Mapping):
        return None
    plain = {name: value for name, value in options.items() if name != "concept" and not isinstance(value, dict | list)}
    flags = [_flag("concept", name) for name in names_of(options)]
    flags += [_flag(name, value) for name, value in {**plain, **options["method_options"]}.items() if value not in (None, "")]
    return " \\\n  ".join(["erase-concept", *flags])


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {shlex.quote(str(value))}"


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return None
