"""Where it got worse: groups of prompts that lost most, and the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.metrics.paired import paired_rates
from eval.rendering.html.markup import safe, tabled, titled
from eval.rendering.html.pictures import SHOWN, Records, panel
from eval.samples import WHICH, Row

GROUPS = 12  # rows of the table of what got worse


@dataclass(frozen=True)
class Group:
    """Prompts that share something, and in how many of their pictures all was as wanted."""

    name: str
    n: int
    before: int
    after: int
    p: float


def groups(rows: Sequence[Row], records: Records, keep: bool) -> list[Group]:
    """By attribute (or by prompt, where rows have none): prompts of the roles to keep, or of those to forget; the worst first.

    A group has at least two pictures; p is the exact McNemar test's.
    """
    held: dict[str, list[Mapping[str, Any]]] = {}
    for i, row in enumerate(rows):
        if i in records and (row["role"] == "evaluate-retain") == keep:
            for name, value in (row.get("attributes") or {"prompt": row["text"]}).items():
                held.setdefault(f"{name}: {value}", []).append(records[i])
    found = []
    for name, members in held.items():
        if len(members) > 1:
            before, after = ([bool(record[f"ok_{which}"]) for record in members] for which in WHICH)
            found.append(Group(name, len(members), sum(before), sum(after), paired_rates(before, after).p))
    return sorted(found, key=lambda g: ((g.after - g.before) / g.n if keep else g.after / g.n, g.name))


def worse_section(rows: Sequence[Row], records: Records, pair: Callable[[int], str]) -> str:
    if not records:
        return ""
    kept, forgot = groups(rows, records, True), groups(rows, records, False)
    lost = [group for group in kept if group.after < group.before]
    still = [group for group in forgot if group.after < group.n]
    text = _group_table(f"To keep: {len(lost)} of {len(kept)} groups of prompts lost pictures", lost, "as asked")
    text += _group_table(f"To forget: in {len(still)} of {len(forgot)} groups the concept is left", still, "without it")
    chance = "Where many groups are looked at, one in twenty has p below 0.05 by chance alone."
    numbers = [i for i in records if i < len(rows)]
    keep = [i for i in numbers if rows[i]["role"] == "evaluate-retain" and records[i]["ok_before"] and not records[i]["ok_after"]]
    forget = [i for i in numbers if rows[i]["role"] != "evaluate-retain" and not records[i]["ok_after"]]
    text += panel(f"Pictures that were as asked and no longer are: {len(keep)}", "bad", [pair(i) for i in keep[:SHOWN]])
    text += panel(f"Pictures that still show the concept: {len(forget)}", "bad", [pair(i) for i in forget[:SHOWN]])
    return titled("Where it got worse", f"<p>{chance}</p>{text}" if text else "<p>Nowhere: no picture that was as asked is lost.</p>")


def _group_table(title: str, found: Sequence[Group], wanted: str) -> str:
    cells = [
        [group.name, str(group.n), f"{100 * group.before / group.n:.0f} %", f"{100 * group.after / group.n:.0f} %", f"{group.p:.3f}"]
        for group in found[:GROUPS]
    ]
    heads = ("Prompts with", "pictures", f"{wanted}, original", f"{wanted}, erased", "p")
    more = f"<p class=small>and {len(found) - GROUPS} more</p>" if len(found) > GROUPS else ""
    return f"<h3>{safe(title)}</h3>{tabled(heads, cells)}{more}" if cells else ""
