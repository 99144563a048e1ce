"""Measuring a run once more: new images that are added to its measurement, by the concept's own prompts; or one by a named protocol.

Plain functions, without gradio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from erase.errors import InputError
from eval.measurement.growing import size_of
from eval.protocols import load_protocol
from ui.web.context import Page
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STATES, STOPPED, WAITING, Entry, failure
from ui.web.runs import brief, visible_runs
from ui.web.shelf.listing import Shelved, report_of, shelved_run
from ui.web.shelf.protocols import images_done, listed_protocol
from ui.web.visitor import own_jobs, owner, page_for

MORE = 80  # images of the concept: without one loss, enough for "Yes" (74 are)
AGAIN = "again"


@dataclass(frozen=True)
class MeasurementRequest:
    """The values of the form. `count`: images to add, where no protocol fixes them."""

    run: str | None
    protocol: str | None = ""
    prompts: str = ""
    count: float | None = MORE


@dataclass(frozen=True)
class Measured:
    """A measurement of a run: its folder, the protocol by which it was made ("" for the concept's prompts), and its numbers."""

    folder: Path
    protocol: str
    report: Mapping[str, Any] | None

    @property
    def count(self) -> int:
        """Images that name the concept."""
        return size_of(self.folder)


def measurements(page: Page, run: Shelved) -> list[Measured]:
    """Measurements of a run's model that the visitor may see, the page being theirs."""
    found = []
    places = {run.folder.resolve(), (run.folder / "model").resolve()}
    for folder in visible_runs(page):
        options = brief(folder) or {}
        if options.get("kind") == "evaluation" and options.get("erased") and Path(str(options["erased"])).resolve() in places:
            name = str((options.get("protocol") or {}).get("name") or "")
            found.append(Measured(folder, name, report_of(folder)))
    return found


def best_report(page: Page, run: Shelved) -> tuple[Mapping[str, Any] | None, str]:
    """The numbers by which a run is judged, with its own attacks, and the measurement they are from, "" for the run's own.

    That with the most images of those by the concept's own prompts: more images, not better ones.
    """
    sizes = {"": (_images(run.report), run.report)}
    sizes |= {one.folder.name: (_images(one.report), one.report) for one in measurements(page, run) if not one.protocol}
    source, (_, report) = max(sizes.items(), key=lambda item: item[1][0])
    if report is None or not source:
        return run.report, ""
    attacks = (run.report or {}).get("attacks") or report.get("attacks")
    return {**report, **({"attacks": attacks} if attacks else {})}, source


def _images(report: Mapping[str, Any] | None) -> int:
    after = (report or {}).get("after") or {}
    return sum(int(after[name].get("n") or 0) for name in ("ua", "ua_implicit", "ira", "cra") if isinstance(after.get(name), dict))


def measure(page: Page, session: Any, request: MeasurementRequest) -> Entry:
    """Queue an evaluation of a run: by a named protocol, or with `count` more images of the concept's own prompts."""
    run, visitors_page = shelved_run(page, session, request.run), page_for(page, session)
    protocol, who = request.protocol or "", owner(page, session)
    if not run.has_model:
        raise InputError(f"{run.name} has no model to measure; choose a finished run")
    arguments = ["evaluate", str(run.folder), "--device", page.device]
    if protocol:
        arguments += ["--protocol", load_protocol(listed_protocol(protocol)).name]
        if request.prompts.strip():
            arguments += ["--prompts", str(visitors_page.inside(request.prompts))]
    output = _place(visitors_page, run, protocol)
    if not protocol:
        arguments += ["--count", str(size_of(output) + _more(request.count))]
    page.rate.click(who)
    title = f"measure {run.name} by {protocol}" if protocol else f"measure {run.name} with {_more(request.count)} more images"
    return page.jobs.add([*arguments, "--output", str(output)], output, title, who)


def _more(count: float | None) -> int:
    if not count or count != int(count) or not 1 <= count <= 10_000:
        raise InputError(f"Images is {count!r}; expected a whole number from 1 to 10000")
    return int(count)


def _place(page: Page, run: Shelved, protocol: str) -> Path:
    """The folder of the measurement that grows; else a free one: it may belong to another visitor, or be something else."""
    earlier = {one.folder for one in measurements(page, run) if one.protocol == protocol}
    name = f"{run.name}-{protocol or AGAIN}"
    places = [page.runs / other for other in (name, *(f"{name}-{n}" for n in range(2, 100)))]
    return next(place for place in places if place in earlier or not place.exists())


def job_of(page: Page, session: Any, run: Shelved) -> Entry | None:
    """The visitor's last measurement of a run, an active one first."""
    jobs = [entry for entry in own_jobs(page, session) if entry.arguments[:2] == ("evaluate", str(run.folder))]
    return next(iter([*(entry for entry in jobs if entry.active), *jobs]), None)


def progress(page: Page, entry: Entry | None) -> str:
    """The progress of a measurement as HTML."""
    if entry is None:
        return ""
    title = escape(f"{entry.title[:1].upper()}{entry.title[1:]}")
    name = escape(Path(entry.output).name)
    if entry.state == DONE:
        return f'<p role="status">{title}: done. Its numbers: <a href="?run={name}" data-run="{name}">{name}</a>.</p>'
    if entry.state == FAILED:
        return f'<p role="alert" class="problem">{escape(failure(entry))}</p>'
    if entry.state == WAITING:
        ahead = page.jobs.ahead(entry.id)
        place = f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before it" if ahead else "it starts next"
        return f'<p role="status">Queued: {place}.</p><progress aria-label="waiting in the queue"></progress>'
    if entry.state == STOPPED:
        return f'<p role="status">{title}: stopped. Resume goes on with it; what was drawn is kept.</p>'
    done, total = images_done(Path(entry.output))
    if not total:
        return f'<p role="status">{title}: starting.</p><progress aria-label="starting"></progress>'
    state = "" if entry.state == RUNNING else f", {STATES[entry.state]}"
    bar = f'<progress value="{done}" max="{total}" aria-label="images drawn and measured"></progress>'
    return f'<p role="status">{title}: {done} of {total} images drawn{state}.</p>{bar}'


def listed(page: Page, run: Shelved) -> str:
    """The measurements of a run as links."""
    lines = []
    for one in measurements(page, run):
        by = f"by the protocol {one.protocol}" if one.protocol else f"{one.count} images of the concept"
        name = escape(one.folder.name)
        lines.append(f'<li><a href="?run={name}" data-run="{name}">{name}</a>: {escape(by)}</li>')
    return f"<p>Measurements of this run:</p><ul class=notes>{''.join(lines)}</ul>" if lines else ""
