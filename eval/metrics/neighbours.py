"""Which of all the things that a model draws suffer from an erasure, by how near to the concept they are.

Pure functions of prompts to keep and of the fate of their images (`eval.measurement.aggregate.Aggregate.fates`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.metrics.intervals import rate

SHOWN = 12  # members that lost most, in a report
NEAREST, NEAR = 5, 25  # ranks by CLIP: the five nearest, the next twenty, the rest


@dataclass(frozen=True)
class Member:
    """A thing to keep: its images, and how many are as asked before and after."""

    name: str
    n: int
    before: int
    after: int

    @property
    def lost(self) -> float:
        """The share of its images that is no longer as asked, from -1 to 1."""
        return (self.before - self.after) / self.n


def members(rows: Sequence[Mapping[str, Any]], fates: Sequence[Mapping[str, Any]], domain: str) -> dict[str, Member]:
    """Every word of a domain that prompts to keep ask for. A fate's index is that of its row."""
    counted: dict[str, list[int]] = {}
    for fate in fates:
        row = rows[fate["index"]]
        if row["role"] == "evaluate-retain" and domain in row["attributes"]:
            one = counted.setdefault(row["attributes"][domain], [0, 0, 0])
            for k, value in enumerate((1, fate["ok_before"], fate["ok_after"])):
                one[k] += bool(value)
    return {name: Member(name, *counts) for name, counts in counted.items()}


def rings_of(found: Mapping[str, Member], ring_of: Mapping[str, str], order: Sequence[str]) -> list[dict[str, Any]]:
    """A record for each ring of `order` that has members: how many, their images, and the rates before and after with the change.

    `ring_of`: member -> its ring; members without one are left out.
    """
    records = []
    for ring in order:
        inside = [member for name, member in found.items() if ring_of.get(name) == ring]
        if inside:
            before, after = ([float(i < getattr(m, which)) for m in inside for i in range(m.n)] for which in ("before", "after"))
            records.append(
                {
                    "ring": ring,
                    "members": len(inside),
                    "before": rate([value == 1 for value in before]).record(),
                    "after": rate([value == 1 for value in after]).record(),
                    "kept": round(100 * sum(after) / sum(before), 1) if any(before) else None,
                }
            )
    return records


def ranked(similarity: Mapping[str, float]) -> dict[str, str]:
    """The rings by rank of a similarity: "5 nearest", "next 20", "the rest"; ties by name."""
    order = sorted(similarity, key=lambda name: (-similarity[name], name))
    return {name: RANKS[0] if k < NEAREST else RANKS[1] if k < NEAR else RANKS[2] for k, name in enumerate(order)}


RANKS = (f"{NEAREST} nearest", f"next {NEAR - NEAREST}", "the rest")


def lost_most(found: Mapping[str, Member]) -> list[Member]:
    """The members that lost most, the worst first; none that lost nothing."""
    return sorted((m for m in found.values() if m.lost > 0), key=lambda m: (-m.lost, m.name))[:SHOWN]
