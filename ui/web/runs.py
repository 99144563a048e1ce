"""The visitor's runs, and the models that may be compared: finished runs and their originals. Reads run folders only.

Lists of many runs are asked for at every click, so what they need of a run is remembered while its options.json stays the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from erase.concepts import EMBEDDED
from erase.errors import InputError
from erase.run import Run, list_runs
from ui.web.context import Page
from ui.web.example.unpack import is_example

OWN = "(same as the run)"
SMALL, LARGE = (25, 4.0), (50, 7.5)  # steps and guidance of the embedded model and of others
LONG = ("weights", "concepts", "concept_file", "environment")  # of the options: what lists of runs do not need
DETECTOR = "detector"  # of the concept, which they do


@dataclass(frozen=True)
class Erased:
    """An erased model: its label, its folder or name, its original, the erased concept, and the sampling of its run."""

    label: str
    source: str
    original: str | None = None
    concept: Mapping[str, Any] | None = None
    steps: int = LARGE[0]
    guidance: float = LARGE[1]


# --- lists of runs ------------------------------------------------------------------------------------------------------


def all_runs(page: Page) -> list[Path]:
    """Every run folder, sorted by name."""
    return list_runs(page.runs, lambda folder: brief(folder) is not None)


def visible_runs(page: Page) -> list[Path]:
    """The run folders that are not closed to the visitor."""
    return [folder for folder in all_runs(page) if not page.closed or folder.resolve() not in page.closed]


def erased_runs(page: Page) -> list[str]:
    """Names of the visitor's runs that have a model, newest first; the example comes after them."""
    folders = [folder for folder in visible_runs(page) if (folder / "model" / "model_index.json").is_file()]
    return [folder.name for folder in sorted(folders, key=lambda folder: (is_example(folder), -_changed(folder)))]


def brief(folder: Path) -> Mapping[str, Any] | None:
    """A run's options without the long ones, and the `detector` of its concept; None for a folder that is not a run, or cannot be read."""
    try:
        status = (folder / "options.json").stat()
    except OSError:
        return None
    return _brief(folder, (status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4096)
def _brief(folder: Path, version: tuple[int, ...]) -> Mapping[str, Any] | None:
    try:
        options = Run.read(folder).options
    except (InputError, OSError):
        return None
    concept = options.get("concept_file")
    detector = concept.get(DETECTOR) if isinstance(concept, Mapping) else None
    return {**{name: value for name, value in options.items() if name not in LONG}, DETECTOR: detector}


def _changed(folder: Path) -> int:
    """When a run last made progress. Not the model's own time: its files may be copies with the times of others."""
    times = [path.stat().st_mtime_ns for name in ("stages.json", "options.json") if (path := folder / name).is_file()]
    return max(times, default=0)


# --- models -------------------------------------------------------------------------------------------------------------


def erased(page: Page, chosen: str) -> Erased:
    """One of the chosen models: the name of a run, or what was typed; InputError for what may not be opened."""
    if chosen in erased_runs(page):
        return _of_run(page.runs / chosen)
    source = page.model(chosen)
    folder = Path(source)
    if folder.name == "model" and (folder.parent / "options.json").is_file():
        return _of_run(folder.parent)
    steps, guidance = SMALL if source in EMBEDDED else LARGE
    return Erased(folder.name if folder.exists() else source, source, None, None, steps, guidance)


def _of_run(folder: Path) -> Erased:
    options = Run.read(folder).options
    sampling = options.get("sampling") or {}
    steps, guidance = sampling.get("steps") or LARGE[0], sampling.get("guidance")
    concept = options.get("concept_file")
    return Erased(
        folder.name, str(folder / "model"), options.get("model"), concept, int(steps), LARGE[1] if guidance is None else float(guidance)
    )


def original_of(page: Page, typed: str, chosen: Sequence[Erased]) -> str:
    """The original to compare with: the one that was typed, else that of the first run that knows its own, else the embedded model."""
    if typed not in ("", OWN):
        return page.model(typed)
    originals = {model.original for model in chosen if model.original}
    if len(originals) > 1:
        raise InputError(f"the chosen runs have different originals ({', '.join(sorted(originals))}); choose one under Original")
    if chosen and not originals:
        raise InputError(f"{chosen[0].label} does not name its original; choose one under Original")
    return originals.pop() if originals else "demo"
