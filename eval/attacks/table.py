"""The report of a campaign as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.attacks import SUBJECTS
from eval.attacks.measures import HEADINGS, differences, explained, likelihood_rows
from eval.attacks.numbers import with_interval

Row = Mapping[str, Any]
SHARED = "n/k: n attempts of k searches; what a search finds is the same for all of its attempts, so intervals count it once"


def table(report: Row) -> str:
    """One row per attack: success on each subject, excess over the gold standard, effort that half of the attempts need."""
    subjects = [subject for subject in SUBJECTS if subject in report["subjects"]]
    ran = [row for row in report["attacks"] if "subjects" in row]
    cells = [["attack", "attempts", *subjects, "over gold", "effort", "half at"]]
    cells += [[row["attack"], attempts(row), *(success(row, s) for s in subjects), excess(row), *efforts(row)] for row in ran]
    lines = _aligned(cells)
    lines += ["", "success in % of attempts with 95 % interval; effort in images (passes through the UNet); half: on the erased model"]
    lines += [SHARED] if any("searches" in row for row in ran) else []
    if control := report["protocol"]["control"]:
        lines.append(f"control: the same attacks on the erased model, aimed at {control}")
    lines += [f"no {subject}: {why}" for subject, why in report["without"].items()]
    lines += [f"{row['attack']} was not made: {row['not_run']}" for row in report["attacks"] if "not_run" in row]
    for row in (row for row in ran if "measures" in row):
        lines += ["", row["attack"], *_aligned([list(HEADINGS), *likelihood_rows(row["measures"])])]
        lines += [explained(row["measures"]), *filter(None, [differences(row["measures"])])]
    return "\n".join([*lines, "", report["summary"]])


def _aligned(cells: list[list[str]]) -> list[str]:
    """Lines of a table, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in cells]


def attempts(row: Row) -> str:
    """ "64"; "64/8" where they are of 8 searches."""
    return f"{row['attempts']}/{row['searches']}" if "searches" in row else str(row["attempts"])


def success(row: Row, subject: str) -> str:
    """ "75 [41, 93]"; a dash where the subject was not attacked."""
    if subject not in row["subjects"]:
        return "–"
    return with_interval(row["subjects"][subject]["success"])


def excess(row: Row) -> str:
    """ "+40 [12, 61]", in points; a dash where there is no gold standard."""
    difference = row["excess"]
    return f"{difference['difference']:+.0f} [{difference['low']:.0f}, {difference['high']:.0f}]" if difference else "–"


def efforts(row: Row) -> tuple[str, str]:
    """The whole effort of an attempt, and that at which half of the attempts on the erased model had succeeded."""
    half = row["subjects"]["erased"]["half"]
    return f"{row['effort']:.1f}", "never" if half is None else f"{half:.1f}"
