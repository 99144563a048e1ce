"""The numbers of a report as rows of tables, with intervals and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.metrics.accuracy import MEANINGS
from eval.rendering.charts import change_bars
from eval.rendering.verdict import about as about_of
from eval.rendering.verdict import change, measures, notes, number
from eval.rendering.verdict import title as title_of
from eval.samples import WHICH

LOWER_IS_BETTER = ("fid", "kid", "frechet", "lpips")
LEFT, RIGHT = 8.0, 152.0  # where 0 and 100 % are in the small chart of a row

Metric = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """A value with its interval in the small chart of a row: places from the left and from above, in pixels, and colours."""

    value: float
    low: float
    high: float
    y: int
    fill: str
    colour: str


@dataclass(frozen=True)
class NumbersRow:
    """A measure: its title and meaning, its name in report.json, its small chart, and its cells."""

    title: str
    words: str
    name: str
    ranges: Sequence[Range]
    cells: Sequence[str]


@dataclass(frozen=True)
class Detections:
    """Boxes by label: a chart as SVG, and the rows of a table."""

    chart: str
    rows: Sequence[Sequence[str]]


def detections_of(report: Mapping[str, Any]) -> Detections | None:
    """What a detector of boxes counted, None where it was not used."""
    before, after = ((report.get(which) or {}).get("detections") or {} for which in WHICH)
    if not before and not after:
        return None
    empty = {"boxes": 0, "pictures": 0}
    both = {label: (before.get(label, empty), after.get(label, empty)) for label in {**before, **after}}
    boxes = {readable(label): (b["boxes"], a["boxes"]) for label, (b, a) in both.items()}
    rows = [[readable(label), *(f"{side[kind]:,}" for kind in ("boxes", "pictures") for side in sides)] for label, sides in both.items()]
    return Detections(change_bars(boxes, "Exposed body parts: change of the number of boxes against the original"), rows)


def numbers_of(report: Mapping[str, Any]) -> list[NumbersRow]:
    """All numbers with intervals, change and n."""
    rows = []
    for name, (before, after) in measures(report).items():
        words = [about_of(name), *notes(before), *(text for text in notes(after) if text not in list(notes(before)))]
        ranges = ranges_of(before, after) if name in MEANINGS and all(_has_interval(side) for side in (before, after) if side) else []
        n = (after or before or {}).get("n", "")
        cells = [number(before, name).replace(" [", "\n["), number(after, name).replace(" [", "\n["), *_change(report, name), str(n)]
        rows.append(NumbersRow(title_of(name), "; ".join(filter(None, words)), name, ranges, cells))
    return rows


def ranges_of(before: Metric | None, after: Metric | None) -> list[Range]:
    """Two values in percent with their intervals on one small scale, the original above and hollow, the erased model below and filled."""
    ranges = []
    for metric, y, fill, colour in ((before, 13, "paper", "muted"), (after, 35, "mark", "mark")):
        if metric is not None:
            value, low, high = (round(LEFT + (RIGHT - LEFT) * min(max(metric[key], 0), 100) / 100, 2) for key in ("value", "low", "high"))
            ranges.append(Range(value, low, high, y, fill, colour))
    return ranges


def _change(report: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The change with its interval and in a word; and p."""
    result = change(report, name)
    if result is None:
        return "–", "–"
    difference, low, high = result
    digits = 1 if name in MEANINGS else 3 if abs(difference) < 10 else 2
    higher_is_better = not any(part in name for part in LOWER_IS_BETTER)
    word = "no clear change" if low <= 0 <= high else "better" if (difference > 0) == higher_is_better else "worse"
    text = "no change" if difference == low == high == 0 else f"{difference:+.{digits}f}\n[{low:+.{digits}f}, {high:+.{digits}f}]\n{word}"
    p = ((report.get("paired") or {}).get(name) or {}).get("p")
    return text.replace("-", "−"), "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def concepts_of(report: Mapping[str, Any]) -> list[list[str]]:
    """Where several concepts were erased, the numbers of each."""
    rows = []
    for name, part in (report.get("concepts") or {}).items():
        label = f"{name} (gone earlier)" if name in (report.get("earlier") or ()) else name
        rows += [
            [label, title_of(m), number(before, m), number(after, m)] for m, (before, after) in measures(part).items() if m in MEANINGS
        ]
    return rows


def became_of(report: Mapping[str, Any]) -> list[list[str]]:
    """What the detector sees in images of prompts that name the concept, the most frequent first."""
    before, after = ((report.get(which) or {}).get("became") or {} for which in WHICH)
    labels = sorted({**before, **after}, key=lambda label: (-after.get(label, 0), -before.get(label, 0), label))
    return [[label, f"{before.get(label, 0):,}", f"{after.get(label, 0):,}"] for label in labels]


@dataclass(frozen=True)
class Neighbours:
    """The neighbour table, a row for each ring, and the things that lost most in words."""

    rows: Sequence[Sequence[str]]
    lost: Sequence[str]


def neighbours_table(record: Mapping[str, Any] | None) -> Neighbours | None:
    """What report.json has of `neighbours`; None where it has none."""
    if not record:
        return None
    rows = []
    for by in ("by_group", "by_clip"):
        for ring in record.get(by, ()):
            shares = [f"{ring[which]['value']:.1f} [{ring[which]['low']:.1f}, {ring[which]['high']:.1f}]" for which in WHICH]
            kept = "" if ring["kept"] is None else f"{ring['kept']:.1f} %"
            name = ring["ring"] if by == "by_group" else f"{ring['ring']} by CLIP"
            rows.append([name, str(ring["members"]), str(ring["after"]["n"]), *shares, kept])
    return Neighbours(rows, [f"{one['name']} ({one['after']} of {one['before']})" for one in record.get("lost_most", ())])


def readable(label: str) -> str:
    """A detector's label as people write it: FEET_EXPOSED -> Feet."""
    words = label.removesuffix("_EXPOSED").replace("_", " ").lower()
    return words[:1].upper() + words[1:]


def _has_interval(metric: Metric) -> bool:
    return all(metric.get(name) is not None for name in ("value", "low", "high"))
