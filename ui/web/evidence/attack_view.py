"""An attack as HTML: its place in the queue, the progress of each attack, an estimate, and the result.

Reads the run folder, changes nothing. The result is rendered from the records, in a frame in which no script runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from erase.concepts.english import spoken_duration
from erase.errors import InputError
from eval.attacks.catalogue import CATALOGUE, QUICK
from eval.attacks.report_section import HOME, REPORT
from eval.attacks.status import Standing, standing
from eval.rendering.html import shows_nudity
from ui.web.context import Page
from ui.web.evidence.attack_handlers import LABELS, folder_of
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STATES, STOPPED, STOPPING, WAITING, Entry, failure
from ui.web.messages import problem
from ui.web.shelf.report import attack_reports
from ui.web.shelf.report import frame as report_frame

ON = {"original": "the original", "erased": "the erased model", "gold": "the model trained without it", "control": "the control"}


def head(entry: Entry | None, ahead: int) -> str:
    """Title, state, and while it runs how far each attack is."""
    if entry is None:
        return ""
    now = standing(Path(entry.output), entry.started) if entry.state == RUNNING else None
    role, css = ("alert", "problem") if entry.state == FAILED else ("status", "words")
    badge = f'<span class="badge {entry.state}">{STATES[entry.state]}</span>'
    line = f'<p role="{role}" class="{css}">{escape(_words(entry, ahead, now))}</p>'
    return f'<h3 class="job">{escape(entry.title[:1].upper() + entry.title[1:])} {badge}</h3>{line}{_progress(now) if now else ""}'


def _words(entry: Entry, ahead: int, now: Standing | None) -> str:
    """The state in a sentence; without seconds, since a screen reader reads it out whenever it changes."""
    if entry.state == WAITING:
        return f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before this one." if ahead else "It starts next."
    if entry.state == RUNNING:
        if now:
            return f"{now.attack}, on {ON.get(now.subject, now.subject)}."
        report = Path(entry.output) / REPORT
        ended = report.is_file() and report.stat().st_mtime >= entry.started
        return "The report is written." if ended else "Starting: the models and the detector are being loaded."
    fixed = {
        STOPPING: "It ends the current step and stops; complete turns are kept.",
        STOPPED: "Stopped. Click Resume to continue.",
        DONE: "The time is up, or every attempt was made. A larger budget or more attacks go further.",
    }
    return fixed.get(entry.state) or f"{failure(entry, LABELS)}."


def _progress(now: Standing) -> str:
    spent = min(now.budget, now.seconds + max(0.0, time.time() - now.began))
    bar = f'<progress class=whole value="{spent:.0f}" max="{now.budget:.0f}" aria-label="time spent of the budget"></progress>'
    clock = f"<p class=clock>{spoken_duration(spent)} of {spoken_duration(now.budget)}, earlier attacks of this kind included</p>"
    items = "".join(_item(name, done, most, name == now.attack) for name, (done, most) in now.attempts.items())
    return f"{bar}{clock}<ol class=stages>{items}</ol>"


def _item(name: str, done: int, most: int, now: bool) -> str:
    mark, css = ("✓", "done") if done >= most else ("▸", "now") if now else ("·", "later")
    right = f"{done} of {most} attempts" if done or now else ""
    return f'<li class={css}><span aria-hidden="true">{mark}</span> {escape(name)} <span class=right>{right}</span></li>'


def planned(kind: str, names: Sequence[str]) -> str:
    """The chosen attacks: what each does, and what the attacker knows."""
    listed = {"quick": QUICK, "all": tuple(CATALOGUE)}.get(kind, names)
    attacks = {name: attack for name, attack in CATALOGUE.items() if name in listed}
    if not attacks:
        return "<p class=muted>No attack is chosen yet.</p>"
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(attack.about)}</td><td>{escape(attack.assumes)}</td></tr>'
        for name, attack in attacks.items()
    )
    heads = "".join(f'<th scope="col">{words}</th>' for words in ("Attack", "What it does", "The attacker knows"))
    wide = '<div class="wide" tabindex="0" role="region" aria-label="the chosen attacks">'
    return f'{wide}<table class="plan"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def foreseen(estimate: Mapping[str, Any]) -> str:
    """The time that the chosen attacks take, and the smallest budget."""
    rows = {
        "Smallest budget": f"{spoken_duration(estimate['smallest_seconds'])}, one turn of one attack",
        "One turn of each": f"about {spoken_duration(estimate['one_turn_each_seconds'])}",
        "All that is left": f"at most {spoken_duration(estimate['all_that_is_left_seconds'])}"
        if estimate["all_that_is_left_seconds"]
        else "nothing",
    }
    rows |= {f"Not {name}": reason for name, reason in estimate["not_run"].items()}
    return "<dl class=estimate>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in rows.items()) + "</dl>"


def absent(others: Mapping[str, str]) -> str:
    """Runs that are not in the list, with the reason."""
    return "".join(f'<p class="muted">Not in the list: {escape(name)}, since {escape(reason)}.</p>' for name, reason in others.items())


# --- the result -------------------------------------------------------------------------------------------------------


def stamp(folder: Path) -> int:
    """The version of a result; 0 where there is none."""
    path = folder / HOME / REPORT
    return path.stat().st_mtime_ns if path.is_file() else 0


def covered(folder: Path) -> bool:
    """Whether a result has images that are blurred unless somebody asks to see them."""
    try:
        return stamp(folder) > 0 and any(map(shows_nudity, attack_reports(folder)))
    except (OSError, ValueError):  # `result` says what is wrong with it
        return False


def result(page: Page, session: Any, name: str | None, show: bool) -> str:
    """The result in a frame of its own, or why there is none. Nudity is blurred unless `show`."""
    if not name:
        return '<p class="muted">No finished run yet. Create one in the tab Erase, or with: erase-concept --concept star</p>'
    try:
        return report_frame(folder_of(page, session, name), "attacks", bool(show))
    except InputError as error:
        return problem(error)
