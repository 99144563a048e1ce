"""What a LoRA or a difference loses against the run that it is made from: measured as a job, like any other measurement of the run.

Plain functions, without gradio. The file stays in the run's folder, and its measurement stands beside the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from eval.measurement.growing import size_of
from ui.web.context import Page
from ui.web.jobs.entry import Entry
from ui.web.runs import brief, visible_runs
from ui.web.shelf.export import SMALL, written_by_command
from ui.web.shelf.listing import Shelved, report_of, shelved_run
from ui.web.visitor import owner, page_for

HOME = "small"  # folder of such files in a run
WORDS = {"ua": "gone, named", "ua_implicit": "gone, described", "ira": "own domain kept", "cra": "other domains kept"}
UNMEASURED = "Not measured yet: what this file loses."


def measure_loss(page: Page, session: Any, name: str, form: str) -> Entry:
    """Write the file into the run, unless it is there, and queue its measurement with the sampling of the run's own."""
    run, who = shelved_run(page, session, name), owner(page, session)
    if reason := refusal(run, form):
        raise InputError(reason)
    path = place(run, form)
    page.rate.click(who)
    if not path.is_file():
        written_by_command(run.folder, form, "source", path)
    sampling = run.options.get("sampling") or {}
    settings = {"count": size_of(run.folder), "steps": sampling.get("steps"), "guidance": sampling.get("guidance")}
    flags = [f"--{flag}={value:g}" for flag, value in settings.items() if value]
    output = measured_at(page, run, form)
    arguments = ["evaluate", str(run.folder), "--device", page.device, "--lora", str(path), *flags, "--output", str(output)]
    return page.jobs.add(arguments, output, f"measure {path.name}", who)


def refusal(run: Shelved, form: str) -> str:
    """Why the loss of such a file cannot be measured here; empty where it can."""
    if form not in SMALL:
        return f"{form!r} is the whole model; choose a LoRA or a difference"
    if not run.has_model:
        return f"{run.name} has no model to measure; choose a finished run"
    return "" if run.mine else f"{run.name} is not yours, and the file would be stored in it; take it away and measure it with the command"


def place(run: Shelved, form: str) -> Path:
    """Where such a file of a run is."""
    return run.folder / HOME / f"{run.name}-{form}.safetensors"


def measured_at(page: Page, run: Shelved, form: str) -> Path:
    """The folder of its measurement."""
    return page.runs / f"{run.name}-{form}"


def loss(page: Page, session: Any, run: Shelved, form: str) -> str:
    """What the file loses, as HTML; or that it has not been measured."""
    folder = measured_at(page, run, form)
    options = brief(folder) if folder in visible_runs(page_for(page, session)) else None
    report = report_of(folder) if options and (options.get("lora") or {}).get("file") == place(run, form).name else None
    lines = _lines(run.report or {}, report) if report else []
    if not lines:
        return f"<p class=muted>{UNMEASURED}</p>"
    name = escape(folder.name)
    return f'<p>Measured, the run → this file: {", ".join(lines)}. <a href="?run={name}" data-run="{name}">All numbers</a></p>'


def _lines(own: Mapping[str, Any], file: Mapping[str, Any]) -> list[str]:
    """The shares of both, where the file has them."""
    run, other = own.get("after") or {}, file.get("after") or {}
    values = {name: [f"{side[name]['value']:.0f}" for side in (run, other) if side.get(name)] for name in WORDS if other.get(name)}
    return [f"{WORDS[name]} {' → '.join(both)}&nbsp;%" for name, both in values.items()]
