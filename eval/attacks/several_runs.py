"""Attacks on several runs in one table: by method, the attempts of all its concepts and seeds together.

Attempts on the original and on the gold standard are the same for every method of a concept and seed, and count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.run import Run
from eval.attacks import ERASED, GOLD, ORIGINAL
from eval.attacks.numbers import SEARCH, Record, excess, of_search, success, with_interval
from eval.attacks.report_section import HEADS, HOME, attacks_of
from eval.attacks.store import place, recorded
from eval.attacks.table import SHARED

Attempts = Mapping[str, Mapping[str, Sequence[Record]]]
"""The records of attempts by attack and subject."""


@dataclass(frozen=True)
class Attacked:
    """A run that was attacked: its label (the method), concept and seed, the record of each attempt, and why attacks were not run."""

    label: str
    concept: str
    seed: int
    folder: Path
    attempts: Attempts
    not_made: Mapping[str, str] = field(default_factory=dict)


def together(labels: Mapping[Path, str]) -> dict[str, Any]:
    """The table over all runs, each under its label, and the table of each concept. InputError for a run that was not attacked."""
    runs = [attacked(folder, label) for folder, label in labels.items()]
    concepts = {name: rows([run for run in runs if run.concept == name]) for name in dict.fromkeys(run.concept for run in runs)}
    about = [
        {"run": str(run.folder), "method": run.label, "concept": run.concept, "seed": run.seed, "not_made": dict(run.not_made)}
        for run in runs
    ]
    return {"runs": about, "attacks": rows(runs), "concepts": concepts}


def attacked(folder: Path, label: str) -> Attacked:
    """Read from a run's folder. InputError where it was not attacked."""
    report = attacks_of(folder)
    if report is None:
        raise InputError(f"{folder} was not attacked; `erase-concept attack {folder}` does it")
    ran = [row for row in report["attacks"] if "subjects" in row]
    attempts = {row["attack"]: {subject: _attempts(folder, row, subject) for subject in row["subjects"]} for row in ran}
    idle = {row["attack"]: row["not_run"] for row in report["attacks"] if "not_run" in row}
    return Attacked(label, report["concept"], int(Run.read(folder).options["seed"] or 0), folder, attempts, idle)


def _attempts(folder: Path, row: Mapping[str, Any], subject: str) -> list[Record]:
    turns = [recorded(place(folder / HOME, row["attack"], subject, turn))["attempts"] for turn in range(row["turns"])]
    return [one for number, turn in enumerate(turns) for one in (of_search(turn, number) if "searches" in row else turn)]


def rows(runs: Sequence[Attacked]) -> list[dict[str, Any]]:
    """One row per attack: success on the original, on the gold standard and of each label, and the excess over the gold standard."""
    names = dict.fromkeys(name for run in runs for name in run.attempts)
    return [_row(name, [run for run in runs if name in run.attempts]) for name in names]


def _row(name: str, runs: Sequence[Attacked]) -> dict[str, Any]:
    alike = [[run for run in runs if (run.concept, run.seed) == key] for key in dict.fromkeys((run.concept, run.seed) for run in runs)]
    sides = {subject: [_longest(run.attempts[name].get(subject, ()) for run in some) for some in alike] for subject in (ORIGINAL, GOLD)}
    labels = {label: [run for run in runs if run.label == label] for label in dict.fromkeys(run.label for run in runs)}
    rates = {subject: success_of(side) for subject, side in sides.items()}
    rates |= {label: success_of(run.attempts[name][ERASED] for run in mine) for label, mine in labels.items()}
    over = {label: _excess([run.attempts[name] for run in mine if GOLD in run.attempts[name]]) for label, mine in labels.items()}
    return {"attack": name, "success": {k: v for k, v in rates.items() if v}, "excess": {k: v for k, v in over.items() if v}}


def _longest(sides: Iterable[Sequence[Record]]) -> Sequence[Record]:
    """Of runs with different numbers of the same attempts, the one with the most."""
    return max(sides, key=len)


def success_of(sides: Iterable[Sequence[Record]]) -> dict[str, float | int] | None:
    """Success over the attempts of several runs, whose searches are different ones; None without an attempt."""
    attempts = [attempt for k, side in enumerate(sides) for attempt in _apart(side, k)]
    return success(attempts) if attempts else None


def _apart(attempts: Sequence[Record], run: int) -> list[Record]:
    """The attempts of one of several runs, whose indexes and searches are its own."""
    marked = [{**one, "index": (run, one["index"])} for one in attempts]
    return [{**one, SEARCH: (run, one[SEARCH])} if SEARCH in one else one for one in marked]


def _excess(pairs: Sequence[Mapping[str, Sequence[Record]]]) -> dict[str, Any] | None:
    """Over the gold standard, attempt by attempt of each run."""
    sides = [[one for k, pair in enumerate(pairs) for one in _apart(pair[subject], k)] for subject in (GOLD, ERASED)]
    return excess(*sides) if sides[0] and sides[1] else None


def tables(comparison: Mapping[str, Any]) -> str:
    """As Markdown: a table for each concept, and one over all where there are several."""
    parts = [f"{name}:\n\n{_table(mine)}" for name, mine in comparison["concepts"].items()]
    if len(parts) > 1:
        parts.append(f"all {len(parts)} concepts:\n\n{_table(comparison['attacks'])}")
    footer = ["success in % of attempts [95 % interval] (points over the model that never knew it)"]
    rates = [value for row in comparison["attacks"] for value in row["success"].values()]
    footer += [SHARED] if any("searches" in value for value in rates) else []
    footer += [f"{run['run']}: {name} was not made: {why}" for run in comparison["runs"] for name, why in run["not_made"].items()]
    return "\n\n".join([*parts, "\n".join(footer)])


def _table(mine: Sequence[Mapping[str, Any]]) -> str:
    subjects = list(dict.fromkeys(subject for row in mine for subject in row["success"]))
    labels = [subject for subject in subjects if subject not in (ORIGINAL, GOLD)]
    subjects = [*(subject for subject in (ORIGINAL, GOLD) if subject in subjects), *labels]
    cells = [["attack", "attempts", *(HEADS.get(subject, subject) for subject in subjects)]]
    cells += [[row["attack"], _counts(row, labels), *(_cell(row, subject) for subject in subjects)] for row in mine]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    rule = "|".join("-" * (width + 1) + (":" if k else "-") for k, width in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _counts(row: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Attempts on the erased models; the fewest and the most where methods differ."""
    results = [row["success"][label] for label in labels if label in row["success"]]
    counts = [sorted({result[name] for result in results}) for name in ("n", "searches") if all(name in result for result in results)]
    return "/".join(f"{few[0]}" if len(few) == 1 else f"{few[0]}–{few[-1]}" for few in counts)


def _cell(row: Mapping[str, Any], subject: str) -> str:
    if subject not in row["success"]:
        return "–"
    value, over = row["success"][subject], row["excess"].get(subject)
    text = with_interval(value)
    return f"{text} ({over['difference']:+.0f})" if over else text
