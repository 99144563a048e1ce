"""The head of a run's page as HTML: what it is, and the answers to the first three questions."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from erase.concepts.english import spoken_duration
from eval.rendering.claims import Claim
from eval.rendering.verdict import RULE, verdict
from ui.web.shelf.cards import badge, date
from ui.web.shelf.listing import KINDS, Shelved
from ui.web.units import unbroken

BACK = '<p><a href="?run=" data-run="">← All runs</a></p>'
EXAMPLE = "It comes with erase-concept, to look at and to try things on: its command stands under Protocol. Your own runs stand beside it."
NEXT = {  # of each question: the section that answers it better, by level
    0: ("Measure", "Measure more", ("unsure", "few", "unknown", "fair")),
    1: ("Measure", "Measure more", ("unsure", "few", "unknown")),
    2: ("Attacks", "Attack it", ("unsure", "few", "unknown", "good")),
}
UNMEASURED = ("Is it gone?", "Is the rest kept?", "Does it hold against attacks?")


def head(run: Shelved) -> str:
    """Name, state and settings."""
    options = run.options
    seed = options.get("seed")
    steps = (options.get("method_options") or {}).get("steps")
    seconds = sum(((run.report or {}).get("seconds") or {}).values())
    facts = [
        KINDS.get(run.kind, run.kind) if run.kind else "",
        f"“{run.concept}” out of {run.model}" if run.concept else "",
        run.how,
        f"{steps} steps" if steps else "",
        "" if seed is None else f"seed {seed}",
        date(run.changed),
        f"took {spoken_duration(seconds)}" if seconds else "",
    ]
    line = " · ".join(escape(str(fact)) for fact in facts if fact)
    folder = f"<p class=muted>Folder: {escape(run.name)}</p>" if run.title != run.name else ""
    note = f"<p>{escape(run.label.note)}</p>" if run.label.note else f"<p>{EXAMPLE}</p>" if run.example else ""
    return f"{BACK}<h2>{escape(run.title)} {badge(run)}</h2><p class=muted>{line}</p>{folder}{note}"


def answers(run: Shelved, report: Mapping[str, Any] | None, source: str = "") -> str:
    """The three answers from `report`, which is that of the folder `source` where it is not the run's own."""
    if report is None:
        why = "the job has not come to its measurement yet" if run.state != "finished" else "it has no numbers"
        cards = "".join(_card(question, Claim("unknown", f"not measured: {why}"), i) for i, question in enumerate(UNMEASURED))
        return f"<div class=four>{cards}</div>"
    result = verdict(report)
    cards = "".join(_card(question, claim, i) for i, (question, claim) in enumerate(result.questions().items()))
    of = f"Gone and kept are from the measurement {source}, which has more pictures. " if source else ""
    return f"<div class=four>{cards}</div><details class=muted><summary>What these words mean</summary>{escape(of + RULE)}</details>"


def _card(question: str, claim: Claim, i: int) -> str:
    section, words, levels = NEXT[i]
    link = f'<a href="#run-page" data-section="{section}">{words}</a>' if claim.level in levels else ""
    if i == 2 and claim.level in ("bad", "good", "few"):
        link = '<a href="#run-page" data-section="Attacks">See the attacks</a>'
    return (
        f'<div class="claim {claim.level}"><p class=question>{escape(question)}</p><p class=answer>{escape(claim.answer)}</p>'
        f"<p class=numbers>{unbroken(claim.detail)}.</p>{link}</div>"
    )
