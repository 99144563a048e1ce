"""report.html of a run: its sections in order."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.files import written
from erase.images import Picture
from erase.run import disk_errors, read_lines
from eval.rendering.html.frame import framed
from eval.rendering.html.numbers import became_section, concepts_section, detections_section, table_section
from eval.rendering.html.pictures import pairs, panels_section
from eval.rendering.html.sections import cost_section, protocol_section, repeat_section, training_section, verdict_section
from eval.rendering.html.worse import worse_section
from eval.samples import Row


def write_html(
    folder: Path,
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool = False,
    records: Sequence[Mapping[str, Any]] | None = None,
    more: Sequence[str] = (),
) -> Path:
    """Write `folder`/report.html and return its path.

    `rows` are the prompts; `pictures` holds by "before" and "after" one picture a prompt. stats.jsonl and options.json of
    the folder are used where they are there. `records` (else records.jsonl) says by picture what the detector decided:
    {"index", "role", "ok_before", "ok_after"}, ok meaning as wanted: of a prompt to forget that the concept is not there, of
    one to keep that all it asks for is there. Pictures of nudity are blurred unless `uncensored`: those of prompts to
    forget, and those whose record says "exposed_before" or "exposed_after". `more` are whole sections of others.
    """
    found = read_lines(folder / "records.jsonl") if records is None else records
    path = folder / "report.html"
    options = _json(folder / "options.json")
    text = page(report, rows, pictures, uncensored, found, read_lines(folder / "stats.jsonl"), command(report, options), more)
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
    more: Sequence[str] = (),
) -> str:
    """The whole page; for the arguments see write_html. The same arguments give the same text."""
    known = {int(record["index"]): record for record in records}
    pair = pairs(report, rows, pictures, known, uncensored)
    sections = [
        verdict_section(report),
        panels_section(report, rows, known, pair),
        detections_section(report),
        table_section(report),
        concepts_section(report),
        became_section(report),
        worse_section(rows, known, pair),
        *more,
        training_section(steps, report.get("method") in (None, "scissorhands")),
        protocol_section(report.get("protocol") or {}),
        repeat_section(repeat),
        cost_section(report),
    ]
    title = f"“{report.get('concept')}” erased from {str(report.get('model')).rstrip('/').split('/')[-1]}"
    method = " · ".join(str(report[name]) for name in ("method", "preset") if report.get(name))
    return framed(title, "Evaluation of an erased concept", method, sections)


def command(report: Mapping[str, Any], options: Mapping[str, Any] | None) -> str | None:
    """What to type to repeat it: `report["command"]`, else the main job from a run's options.json; None if neither is there."""
    if report.get("command"):
        given = report["command"]
        return str(given) if isinstance(given, str) else shlex.join(map(str, given))
    if not options or not isinstance(options.get("method_options"), Mapping):
        return None
    plain = {name: value for name, value in options.items() if not isinstance(value, dict | list)}
    flags = [_flag(name, value) for name, value in {**plain, **options["method_options"]}.items() if value not in (None, "")]
    return " \\\n  ".join(["erase-concept", *flags])


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {shlex.quote(str(value))}"


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
