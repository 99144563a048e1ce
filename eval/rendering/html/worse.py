"""Where it got worse: the groups of prompts that lost most, and their images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.metrics.paired import paired_rates
from eval.rendering.html.pictures import COLUMNS, Pair, Panel, Records
from eval.samples import WHICH, Row

GROUPS = 12  # rows of the table of what got worse


@dataclass(frozen=True)
class Group:
    """Prompts that share something, and how many of their images are as intended."""

    name: str
    n: int
    before: int
    after: int
    p: float


@dataclass(frozen=True)
class GroupTable:
    """Groups as rows of a table; `more` is how many it leaves out."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int


@dataclass(frozen=True)
class Worse:
    """Tables of groups that got worse, and panels of the images."""

    tables: Sequence[GroupTable]
    panels: Sequence[Panel]


def groups(rows: Sequence[Row], records: Records, keep: bool) -> list[Group]:
    """By attribute (by prompt, where rows have none but numbers and links): prompts to keep, or to forget; the worst first.

    A group has at least two images; p is that of the exact McNemar test.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for i, row in enumerate(rows):
        if i in records and (row["role"] == "evaluate-retain") == keep:
            for name, value in (_shared(row.get("attributes") or {}) or {"prompt": row["text"]}).items():
                members.setdefault(f"{name}: {value}", []).append(records[i])
    results = []
    for name, group in members.items():
        if len(group) > 1:
            before, after = ([bool(record[f"ok_{which}"]) for record in group] for which in WHICH)
            results.append(Group(name, len(group), sum(before), sum(after), paired_rates(before, after).p))
    return sorted(results, key=lambda g: ((g.after - g.before) / g.n if keep else g.after / g.n, g.name))


def _shared(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that prompts have in common: published files also have columns of case numbers, shares, sizes and links."""
    return {name: value for name, value in attributes.items() if not re.fullmatch(r"-?[\d.]+|https?://\S*", value)}


def worse_of(rows: Sequence[Row], records: Records, pair: Pair) -> Worse | None:
    """Tables and panels; None where no detector decided anything."""
    if not records:
        return None
    to_keep, to_forget = groups(rows, records, True), groups(rows, records, False)
    lost = [group for group in to_keep if group.after < group.before]
    left = [group for group in to_forget if group.after < group.n]
    tables = [
        _table(f"To keep: {len(lost)} of {len(to_keep)} groups of prompts lost images", lost, "as asked"),
        _table(f"To forget: in {len(left)} of {len(to_forget)} groups the concept is left", left, "without it"),
    ]
    numbers = [i for i in records if i < len(rows)]
    keep = [i for i in numbers if rows[i]["role"] == "evaluate-retain" and records[i]["ok_before"] and not records[i]["ok_after"]]
    forget = [i for i in numbers if rows[i]["role"] != "evaluate-retain" and not records[i]["ok_after"]]
    panels = [
        Panel(f"Images that were as asked and no longer are: {len(keep)}", "bad", [pair(i) for i in keep[:COLUMNS]]),
        Panel(f"Images that still show the concept: {len(forget)}", "bad", [pair(i) for i in forget[:COLUMNS]]),
    ]
    return Worse([table for table in tables if table.rows], [panel for panel in panels if panel.figures])


def _table(title: str, members: Sequence[Group], meaning: str) -> GroupTable:
    rows = [
        [group.name, str(group.n), f"{100 * group.before / group.n:.0f} %", f"{100 * group.after / group.n:.0f} %", f"{group.p:.3f}"]
        for group in members[:GROUPS]
    ]
    headings = ("Prompts with", "images", f"{meaning}, original", f"{meaning}, erased", "p")
    return GroupTable(title, headings, rows, max(0, len(members) - GROUPS))
