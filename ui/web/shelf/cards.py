"""The shelf as HTML: one line a run, each a link to the run's own page. Whatever somebody wrote is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from eval.rendering.claims import Claim
from ui.web.shelf.listing import FINISHED, KINDS, Shelved, progress_share
from ui.web.shelf.pictures import strip
from ui.web.units import size

SHOWN = 30  # runs of a page of the shelf
SHORT = {0: "Gone", 1: "Rest kept", 2: "Holds"}  # the three questions, in the order of the verdict
EMPTY = "<p class=muted>No runs yet. Start one in the tab <b>Erase</b>, or with: erase-concept --concept heart</p>"
EXAMPLE = '<span class="badge example">example</span>'
NO_MATCH = "<p class=muted>No run matches. Take words out of Search, or choose All.</p>"


def shelf(runs: Sequence[Shelved], total: int, show: bool, most: int = SHOWN) -> str:
    """The runs as a list; `total` are there before filtering, at most `most` are listed."""
    if not total:
        return EMPTY
    if not runs:
        return NO_MATCH
    lines = "".join(_line(run, show) for run in runs[:most])
    rest = f"<p class=muted>{len(runs) - most} more are not listed here.</p>" if len(runs) > most else ""
    return f"<ol class=shelf>{lines}</ol>{rest}"


def _line(run: Shelved, show: bool) -> str:
    name = escape(run.name)
    link = f'<a href="?run={escape(quote(run.name))}" data-run="{name}"><b>{escape(run.title)}</b></a>'
    facts = [*([KINDS.get(run.kind, run.kind)] if run.kind else []), run.concept and f"“{run.concept}” out of {run.model}", run.how]
    facts = [escape(fact) for fact in facts if fact]
    folder = [f"folder {name}"] if run.title != run.name else []
    place = " · ".join([date(run.changed), size(run.size), *folder])
    note = f"<p class=note>{escape(run.label.note)}</p>" if run.label.note else ""
    text = f"<div class=about><p>{link}{badge(run)}</p><p>{' · '.join(facts)}</p><p class=muted>{place}</p>{note}</div>"
    return f"<li>{_picture(run, show)}{text}{_answers(run)}</li>"


def badge(run: Shelved) -> str:
    """The state, where it says anything, which it does not of a finished run; and whether it came with the package."""
    return (EXAMPLE if run.example else "") + _state(run)


def _state(run: Shelved) -> str:
    if run.state == FINISHED:
        return ""
    share = progress_share(run)
    percent = f", {100 * share:.0f}%" if share else ""
    css = run.state if run.state in ("running", "stopping", "failed") else ""
    return f'<span class="badge {css}">{escape(run.state)}{percent}</span>'


def _picture(run: Shelved, show: bool) -> str:
    found = strip(run.folder, run.sensitive and not show)
    if found is None:
        return '<div class="thumbnail none"><span>no pictures yet</span></div>'
    address, words = found
    return f'<div class=thumbnail><img src="{address}" alt="{escape(words)}"></div>'


def _answers(run: Shelved) -> str:
    result = run.verdict
    if result is None:
        return "<dl class=answers></dl>"
    claims = list(result.questions().values())
    return f"<dl class=answers>{''.join(_answer(SHORT[i], claim) for i, claim in enumerate(claims))}</dl>"


def _answer(question: str, claim: Claim) -> str:
    return f'<div class="{claim.level}"><dt>{question}</dt><dd>{escape(claim.answer)}</dd></div>'


def date(seconds: float) -> str:
    """Day and time of day on this machine."""
    return time.strftime("%d %b %Y, %H:%M", time.localtime(seconds)) if seconds else "no date"
