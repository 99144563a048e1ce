"""What is said around numbers and pictures: the verdict, training, protocol, how to repeat it, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erase.run import flat
from eval.rendering.charts import curve
from eval.rendering.html.markup import safe, tabled, titled
from eval.rendering.verdict import RULE, Claim, verdict

ANSWERS = {"good": "Yes", "fair": "Mostly", "unsure": "Probably", "bad": "No", "unknown": "Not known"}
LOSSES = {"retain_loss": "Loss on what is kept", "unlearn_loss": "Unlearning loss"}
LONG = 40  # entries of a list beyond which it is folded


def verdict_section(report: Mapping[str, Any]) -> str:
    said = verdict(report)
    absent = "".join(f"<li>{safe(name)}{f': {safe(why)}' if why else ''}</li>" for name, why in said.unmeasured.items())
    protocol = report.get("protocol") or {}
    deviations = _texts(protocol.get("deviations"))
    warned = [*_texts(protocol.get("note")), *([f"Deviates from the named protocol: {'; '.join(deviations)}"] if deviations else [])]
    claims = _claim(f"Is “{said.concept}” gone?", said.forgotten) + _claim("Is the rest kept?", said.kept)
    absent += "" if report.get("attacks") else "<li>attacks and further training</li>"
    open_ = f"<div class='claim unknown'><h3>Not measured</h3><ul>{absent}</ul></div>" if absent else ""
    warnings = "".join(f"<p class=warning><strong>Note.</strong> {safe(text)}</p>" for text in warned)
    return (
        f"<section aria-labelledby=verdict><h2 id=verdict class=hidden>Verdict</h2><p class=verdict>{safe(said.sentence())}</p>{warnings}"
        f"<div class=claims>{claims}{open_}</div><p class=small>{safe(RULE)}</p></section>"
    )


def _claim(question: str, claim: Claim) -> str:
    said = claim.numbers if claim.level == "good" else claim.clause()
    answer = f"<p class=answer>{ANSWERS[claim.level]}</p>"
    return f"<div class='claim {claim.level}'><h3>{safe(question)}</h3>{answer}<p>{safe(said[:1].upper() + said[1:])}.</p></div>"


def training_section(steps: Sequence[Mapping[str, Any]], projects: bool = True) -> str:
    if not steps:
        return ""
    projected = sum(step.get("projected") is True for step in steps)
    about = f"{len(steps):,} training steps."
    if projects:
        about = f"{len(steps):,} repair steps; the projection acted in {projected:,} of them ({100 * projected / len(steps):.0f} %)"
        about += ", marked below the curves." if projected else "."
    losses = {name: label for name, label in LOSSES.items() if any(name in step for step in steps)}
    return titled("Training", f"<p>{about}</p><div class=chart>{curve(steps, losses, 'Losses by repair step')}</div>")


def protocol_section(protocol: Mapping[str, Any]) -> str:
    body = []
    for name, value in protocol.items():
        for path, inner in _leaves(value):
            body.append(f"<tr><th scope=row>{safe(' › '.join([name, *path]))}</th><td>{_value(inner)}</td></tr>")
    about = "<p>All that is needed to repeat the numbers. A number without its protocol is not written.</p>"
    return titled("Protocol", f"{about}<div class=wide><table class=protocol><tbody>{''.join(body)}</tbody></table></div>")


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Path and value of what a nested protocol holds; a list of plain values is one."""
    if isinstance(value, Mapping) and value:
        return [((str(key), *path), leaf) for key, inner in value.items() for path, leaf in _leaves(inner)]
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        return [((str(i), *path), leaf) for i, inner in enumerate(value, 1) for path, leaf in _leaves(inner)]
    return [((), value)]


def _value(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(safe(item) for item in value) or "none"
        return shown if len(value) <= LONG else f"<details><summary>{len(value):,} entries</summary>{shown}</details>"
    return "<span class=muted>none</span>" if value in (None, {}) else safe(value)


def repeat_section(repeat: str | None) -> str:
    return titled("To repeat it", f"<pre><code>{safe(repeat)}</code></pre>") if repeat else ""


def cost_section(report: Mapping[str, Any]) -> str:
    seconds = report.get("seconds") or {}
    cells = [[stage, f"{value:,.1f}"] for stage, value in seconds.items()] + (
        [["together", f"{sum(seconds.values()):,.1f}"]] if seconds else []
    )
    peak = report.get("peak_bytes")
    memory = f"<p>Largest memory of any stage: {peak / 2**20:,.0f} MiB.</p>" if peak else ""
    return titled("Time and memory", memory + (tabled(("Stage", "seconds"), cells) if cells else "")) if cells or memory else ""


def _texts(value: Any) -> list[str]:
    return [str(text) for text in flat({"": value}).values()] if value else []
