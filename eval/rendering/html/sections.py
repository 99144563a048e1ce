"""The sections of a report around its numbers and images: verdict, protocol, cost. What they compute; templates put it into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erase.options import flat
from eval.rendering.claims import Claim
from eval.rendering.verdict import RULE, verdict

LONG = 40  # entries of a list beyond which it is folded


@dataclass(frozen=True)
class Answer:
    """One part of the verdict as a card: a question, a word, the numbers."""

    level: str
    question: str
    answer: str
    words: str


@dataclass(frozen=True)
class VerdictSection:
    """The verdict: a sentence, warnings, the three answers, and what was not measured."""

    sentence: str
    notes: Sequence[str]
    claims: Sequence[Answer]
    unmeasured: Sequence[str]
    rule: str = RULE


@dataclass(frozen=True)
class ProtocolEntry:
    """One value of a protocol with its path; `count` is that of a list."""

    path: Sequence[str]
    text: str
    count: str = ""
    folded: bool = False
    empty: bool = False


@dataclass(frozen=True)
class Cost:
    """Rows of stage and seconds, and the peak memory in MiB ("" where it was not recorded)."""

    rows: Sequence[Sequence[str]]
    peak: str


def verdict_of(report: Mapping[str, Any]) -> VerdictSection:
    result = verdict(report)
    unmeasured = [f"{name}: {reason}" if reason else name for name, reason in result.unmeasured.items()]
    protocol = report.get("protocol") or {}
    deviations = _texts(protocol.get("deviations"))
    notes = [*_texts(protocol.get("note")), *([f"Deviates from the named protocol: {'; '.join(deviations)}"] if deviations else [])]
    notes += [f"The preset {report.get('preset')} differs from its publication: {what}." for what in _texts(report.get("differs"))]
    claims = [_answer(question, claim) for question, claim in result.questions().items()]
    return VerdictSection(result.sentence(), notes, claims, unmeasured)


def _answer(question: str, claim: Claim) -> Answer:
    return Answer(claim.level, question, claim.answer, claim.detail)


def protocol_entries(protocol: Mapping[str, Any]) -> list[ProtocolEntry]:
    """Every value of a nested protocol, in its order; long lists folded."""
    return [_entry((name, *path), leaf) for name, value in protocol.items() for path, leaf in _leaves(value)]


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Path and value of each leaf of a nested protocol; a list of plain values is one leaf."""
    if isinstance(value, Mapping) and value:
        return [((str(key), *path), leaf) for key, inner in value.items() for path, leaf in _leaves(inner)]
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        return [((str(i), *path), leaf) for i, inner in enumerate(value, 1) for path, leaf in _leaves(inner)]
    return [((), value)]


def _entry(path: Sequence[str], value: Any) -> ProtocolEntry:
    if isinstance(value, list):
        return ProtocolEntry(path, ", ".join(map(str, value)) or "none", f"{len(value):,}", folded=len(value) > LONG)
    return ProtocolEntry(path, str(value), empty=value is None or value == {})


def cost_of(report: Mapping[str, Any]) -> Cost:
    seconds = report.get("seconds") or {}
    rows = [[stage, f"{value:,.1f}"] for stage, value in seconds.items()]
    peak = report.get("peak_bytes")
    total = [["together", f"{sum(seconds.values()):,.1f}"]] if seconds else []
    return Cost([*rows, *total], f"{peak / 2**20:,.0f}" if peak else "")


def _texts(value: Any) -> list[str]:
    return [str(text) for text in flat({"": value}).values()] if value else []
