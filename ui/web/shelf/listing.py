"""Every run folder that a visitor may see, whoever made it: what it is, how far it is, and what was measured. Reads, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED
from erase.errors import InputError
from erase.run import Run
from eval.attacks.report_section import attacks_of
from eval.measurement.report_file import read_report
from eval.rendering.claims import LEVELS
from eval.rendering.html import shows_nudity
from eval.rendering.verdict import Verdict, verdict
from ui.progress import read_progress
from ui.web.context import Page
from ui.web.example.unpack import is_example
from ui.web.jobs.entry import STATES, Entry
from ui.web.runs import DETECTOR, brief, visible_runs
from ui.web.security.owners import is_of
from ui.web.shelf.labels import Label, read_label
from ui.web.visitor import owner, page_for

KINDS = {
    "": "erasure", "evaluation": "measurement", "bench": "table of methods", "sweep": "sweep", "reproduction": "table of a paper",
    "classify": "classifiers",
}  # fmt: skip
SORTS: dict[str, tuple[str, Callable[[Shelved], Any]]] = {}  # filled below: the functions name the class
FINISHED, UNFINISHED = "finished", "not finished"


@dataclass(frozen=True)
class Shelved:
    """A run folder. `changed`: seconds since 1970; `state`: of its job, else whether it is finished.

    `options`: in a list of runs without the long ones (ui.web.runs.brief). What takes reading more files is read when it is asked for,
    and remembered while these stay the same.
    """

    folder: Path
    label: Label
    kind: str
    options: Mapping[str, Any] = field(repr=False)
    state: str
    changed: float
    mine: bool = True

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name

    @property
    def title(self) -> str:
        """What people call it."""
        return self.label.title or self.name

    @property
    def concept(self) -> str:
        return str(self.options.get("concept") or "")

    @property
    def model(self) -> str:
        """The original, as people call it: the last part of a path; of a run's model, the run."""
        path = Path(str(self.options.get("model") or ""))
        return path.parent.name if path.name == "model" and path.parent.name else path.name

    @property
    def how(self) -> str:
        """Method and preset."""
        return ", ".join(str(self.options[name]) for name in ("method", "preset") if self.options.get(name))

    @property
    def example(self) -> bool:
        """Whether it is the one that comes with the package."""
        return is_example(self.folder)

    @property
    def report(self) -> Mapping[str, Any] | None:
        """Its numbers with those of its attacks."""
        return report_of(self.folder)

    @property
    def has_model(self) -> bool:
        """Whether there is an erased model to take away."""
        return (self.folder / "model" / "model_index.json").is_file()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return _size(self.folder, self.changed)

    @property
    def verdict(self) -> Verdict | None:
        """The three answers; None where nothing was measured."""
        return (_summary(self.folder) or (None, None))[0]

    @property
    def sensitive(self) -> bool:
        """Whether its images are blurred by default: nudity, or a model of which no detector says what it draws."""
        if (summary := _summary(self.folder)) is not None:
            return summary[1]
        concept = self.options.get("concept_file") or self.options
        return concept.get(DETECTOR) == "nudenet" or "nud" in self.concept or str(self.options.get("model")) not in EMBEDDED


def shelved(page: Page, session: Any) -> list[Shelved]:
    """The runs that the visitor may see, newest first."""
    jobs = jobs_by_folder(page)
    folders = visible_runs(page_for(page, session))
    found = [_shelved(page, session, folder, options, jobs) for folder in folders if (options := brief(folder))]
    return sorted(found, key=lambda run: -run.changed)


def shelved_run(page: Page, session: Any, name: str | None) -> Shelved:
    """One of them by the name of its folder; InputError for any other, whether it is closed to the visitor or not there."""
    folder = next((folder for folder in visible_runs(page_for(page, session)) if folder.name == name), None)
    try:
        if folder:
            return _shelved(page, session, folder, Run.read(folder).options, jobs_by_folder(page))
    except (InputError, OSError):  # it was deleted a moment ago
        pass
    raise InputError(f"{str(name or '')[:80]!r} is not a run here; choose one from the list of runs")


def jobs_by_folder(page: Page) -> dict[Path, Entry]:
    """The last job that wrote each folder; attacks write beside it."""
    return {Path(entry.output).resolve(): entry for entry in page.jobs.entries() if not entry.attacks}


def _shelved(page: Page, session: Any, folder: Path, options: Mapping[str, Any], jobs: Mapping[Path, Entry]) -> Shelved:
    entry = jobs.get(folder.resolve()) if jobs else None
    mine = not page.shared or is_of(page.jobs.home, folder.name, owner(page, session))
    state = STATES[entry.state] if entry and STATES[entry.state] != FINISHED else FINISHED if _finished(folder) else UNFINISHED
    return Shelved(folder, read_label(folder), str(options.get("kind") or ""), options, state, changed(folder), mine)


def _finished(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("report.json", "report.html"))


def changed(folder: Path) -> float:
    """When a run last made progress, in seconds since 1970."""
    names = ("report.json", "stages.json", "options.json")
    times = [path.stat().st_mtime for name in names if (path := folder / name).is_file()]
    return max(times, default=0.0)


def report_of(folder: Path) -> dict[str, Any] | None:
    """The numbers of a run with those of its attacks; None where it has none of this form, or none that can be read."""
    try:
        if not (folder / "samples" / "prompts.jsonl").is_file():
            return None
        return _report(folder, _stamp(folder / "report.json"), _stamp(folder / "attacks" / "report.json"))
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None


def _summary(folder: Path) -> tuple[Verdict, bool] | None:
    """The verdict of a run, and whether its report is of nudity; None where nothing was measured."""
    if not (folder / "samples" / "prompts.jsonl").is_file():
        return None
    return _summed(folder, _stamp(folder / "report.json"), _stamp(folder / "attacks" / "report.json"))


@lru_cache(maxsize=4096)
def _summed(folder: Path, stamp: int, attacked: int) -> tuple[Verdict, bool] | None:
    """As `_summary`; the stamps are the versions of the two files."""
    report = report_of(folder)
    try:
        return (verdict(report), shows_nudity(report)) if report else None
    except (KeyError, TypeError, ValueError, AttributeError):  # written by something else
        return None


@lru_cache(maxsize=32)
def _report(folder: Path, stamp: int, attacked: int) -> dict[str, Any]:
    """As `report_of`; the stamps are the versions of the two files."""
    attacks = attacks_of(folder)
    return {**read_report(folder / "report.json"), **({"attacks": attacks} if attacks else {})}


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=1024)
def _size(folder: Path, changed: float) -> int:
    """Bytes of a folder's files as they were at its last change."""
    return folder_size(folder)


def folder_size(folder: Path) -> int:
    """Bytes of a folder's files; links count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))
            except OSError:  # removed meanwhile
                continue
            total += status.st_size
    return total


# --- filtering and sorting -------------------------------------------------------------------------------------------

SORTS |= {
    "newest": ("Newest first", lambda run: -run.changed),
    "oldest": ("Oldest first", lambda run: run.changed),
    "name": ("Name", lambda run: run.title.lower()),
    "concept": ("Concept", lambda run: (run.concept.lower(), -run.changed)),
    "size": ("Largest first", lambda run: -run.size),
    "verdict": ("Best verdict first", lambda run: (_levels(run), -run.changed)),
}
FILTERS: dict[str, tuple[str, Callable[[Shelved], bool]]] = {
    "all": ("All", lambda run: True),
    "finished": ("Erasures, finished", lambda run: run.kind == "" and run.state == FINISHED),
    "unfinished": ("Running or not finished", lambda run: run.state != FINISHED),
    "measurements": ("Measurements", lambda run: run.kind == "evaluation"),
    "other": ("Tables and sweeps", lambda run: run.kind not in ("", "evaluation")),
}


def chosen(runs: Sequence[Shelved], words: str = "", which: str = "all", order: str = "newest") -> list[Shelved]:
    """Those that match a filter and hold every word (in name, note, concept, model, method or state), in an order."""
    parts = [part for part in str(words or "").lower().split() if part]
    _, accepts = FILTERS.get(which) or FILTERS["all"]
    _, key = SORTS.get(order) or SORTS["newest"]
    found = [run for run in runs if accepts(run) and all(part in _text(run) for part in parts)]
    return sorted(found, key=key)


def _text(run: Shelved) -> str:
    return " ".join(
        (run.name, run.title, run.label.note, run.concept, run.model, run.how, run.state, KINDS.get(run.kind, run.kind))
    ).lower()


def _levels(run: Shelved) -> tuple[int, ...]:
    """The places of the three answers among the levels, the best first; without a verdict it comes last."""
    return tuple(LEVELS.index(claim.level) for claim in run.verdict.questions().values()) if run.verdict else (len(LEVELS),)


def progress_share(run: Shelved) -> float | None:
    """The share of its work that an unfinished erasure has done; None where that is not known."""
    progress = read_progress(run.folder) if run.state != FINISHED and run.kind == "" else None
    return progress.share if progress else None
