"""Finished runs and evaluations, as a table or figure of the paper takes them: each under a label, with its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import read_object, user_path
from eval.bench.paper.items import Cell, Item
from eval.compare import compare
from eval.measurement.report_file import read_report


@dataclass(frozen=True)
class FinishedRun:
    """A run: its label, folder and report, the letter of its protocol among the runs, and how that differs from the first one's."""

    label: str
    folder: Path
    report: Mapping[str, Any]
    letter: str
    differs: Sequence[str]

    @property
    def protocol(self) -> str:
        """The name of its protocol; empty for the prompts of its concept."""
        return str(self.report["protocol"].get("name") or "")

    def record(self) -> dict[str, Any]:
        """For report.json."""
        return {"label": self.label, "folder": str(self.folder), "protocol": self.report["protocol"]}


def finished_runs(item: Item, texts: Sequence[str]) -> list[FinishedRun]:
    """The runs given as LABEL=FOLDER or FOLDER. InputError for what is no run, has no report, or is given twice.

    A label that is a row of the table, in whichever case, is spelled as there. Without a label it is the run's method, or else the
    name of the folder.
    """
    pairs = [_pair(text) for text in texts]
    rows = compare([folder for _, folder in pairs])
    titles = {spelling.casefold(): title for spec, title in item.rows for spelling in (spec, title)}
    runs = []
    for (given, folder), row in zip(pairs, rows, strict=True):
        label = given or _label(folder, row)
        report = read_report(folder / "report.json")
        runs.append(FinishedRun(titles.get(label.casefold(), label), folder, report, row["protocol"], row["differs"]))
    return runs


def distinct(runs: Sequence[FinishedRun]) -> dict[str, FinishedRun]:
    """Label -> run, with the folder's name where two have one label."""
    labels = [run.label for run in runs]
    return {run.label if labels.count(run.label) == 1 else f"{run.label} ({run.folder.name})": run for run in runs}


def title_of(item: Item, run: FinishedRun) -> str:
    """The title of the block that this run belongs to."""
    return next((cell.title for cell in item.cells if cell.protocol == run.protocol), own_title(run.protocol))


def own_title(protocol: str) -> str:
    """The title of a block that is not the paper's."""
    return f"protocol {protocol}, which is not the paper's" if protocol else "the runs' own prompts, which are not the paper's"


def deviations_of(item: Item, runs: Sequence[FinishedRun]) -> list[str]:
    """How each run deviates from its protocol, and whether that is one of the paper's."""
    lines = []
    for run in runs:
        if run.protocol not in {cell.protocol for cell in item.cells}:
            expected = " or ".join(f"--protocol {cell.protocol}" for cell in item.cells)
            lines.append(f"{run.label} ({run.folder}) was measured by {own_title(run.protocol)}; the paper's are {expected}.")
        lines += [
            f"{run.label} ({run.folder}) deviates from {run.protocol}: {text}." for text in run.report["protocol"].get("deviations", ())
        ]
        if run.differs and run.protocol == runs[0].protocol:
            lines.append(f"{run.label} ({run.folder}) was measured otherwise than {runs[0].label}: {'; '.join(run.differs)}.")
    return lines


def cells_of(item: Item, runs: Sequence[FinishedRun]) -> list[tuple[Cell, list[FinishedRun]]]:
    """Each block of the table with its runs, then a block for each other protocol."""
    known = [(cell, [run for run in runs if run.protocol == cell.protocol]) for cell in item.cells]
    others = dict.fromkeys(run.protocol for run in runs if run.protocol not in {cell.protocol for cell in item.cells})
    columns = tuple(dict.fromkeys(column for cell in item.cells for column in item.columns_of(cell)))
    own = [(Cell(title=own_title(name), protocol=name, columns=columns), [run for run in runs if run.protocol == name]) for name in others]
    return [*known, *own]


def _pair(text: str) -> tuple[str, Path]:
    label, equals, path = text.partition("=")
    if not equals or user_path(text).is_dir():
        label, path = "", text
    folder = user_path(path)
    if not folder.is_dir():
        raise InputError(
            f"--runs {text}: {folder} is no folder; give finished runs or evaluations, as LABEL=FOLDER or FOLDER", option="runs"
        )
    return label.strip(), folder


def _label(folder: Path, row: Mapping[str, Any]) -> str:
    if row["method"]:
        preset = row["preset"]
        return str(row["method"]) if preset in (None, "balanced") else f"{row['method']} ({preset})"
    try:
        erased = read_object(folder / "options.json").get("erased")
    except (OSError, ValueError):
        erased = None
    return Path(str(erased)).name if erased else folder.name
