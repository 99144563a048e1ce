"""Many settings of one method on a few concepts: a grid, or a seeded part of it, each trial a row of ordinary runs.

Pictures are drawn once and shared, as in a bench. What a setting is worth is decided elsewhere, from the runs' reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from erase.concepts import load_concept
from erase.errors import InputError
from erase.files import read_toml
from erase.methods import METHODS
from erase.methods.spec import Entry, entry
from erase.pipeline.job import Event, Job, Show
from erase.processes import processes
from erase.run import Run
from eval.bench.plan import Bench, filled, shared_options, slug

if TYPE_CHECKING:
    from eval.bench.cells import Cell, Measure

TRIALS = 10_000  # settings of a sweep

Space = Mapping[str, tuple[str, ...]]
"""Option of the method -> its values, as typed."""


@dataclass(frozen=True)
class Sweep:
    """Every setting of `space`, or `trials` of them drawn by `draw`, on every concept and seed; the rest as in `job`."""

    job: Job
    concepts: tuple[str, ...]
    space: Space
    seeds: tuple[int, ...] = (0,)
    trials: int | None = None
    draw: int = 0

    def settings(self) -> list[Entry]:
        """One row per trial; a smaller number of trials is the beginning of a larger one. InputError for an option the method lacks."""
        job = self.job
        start = f"{job.method}:" + (f"preset={job.preset}," if job.preset != "balanced" else "")
        settings = [start + ",".join(f"{name}={value}" for name, value in setting) for setting in _settings(self)]
        return [entry(text, METHODS, source="a trial") for text in settings]

    @property
    def grid(self) -> int:
        """The number of settings."""
        return math.prod(len(values) for values in self.space.values())


def space_of(over: Sequence[str] = (), file: Path | None = None) -> dict[str, tuple[str, ...]]:
    """The space from NAME=V1,V2 as typed and NAME = [V1, V2] of a TOML file; InputError for an empty space."""
    space: dict[str, tuple[str, ...]] = {}
    listed = [*(_typed(text) for text in over), *(_filed(file) if file else [])]
    for name, values in listed:
        key = name.strip().replace("-", "_")
        if key in space:
            raise InputError(f"the space has {key} twice; give all its values once")
        if bad := next((value for value in values if "," in value), None):
            raise InputError(f"the space has {key} = {bad!r}; a value with a comma cannot be a trial, leave it out")
        space[key] = tuple(dict.fromkeys(values))
    if empty := next((name for name, values in space.items() if not values), None):
        raise InputError(f"the space has no value for {empty}; give at least one, {empty}=V1,V2")
    if not space:
        raise InputError(
            "the space is empty, so there is nothing to try; give --over NAME=V1,V2 ..., or --space FILE.toml with NAME = [V1, V2]"
        )
    return space


def _typed(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--over {text!r} is not NAME=V1,V2; expected e.g. fraction=0.001,0.005")
    return name, [value.strip() for value in values.split(",") if value.strip()]


def _filed(path: Path) -> list[tuple[str, list[str]]]:
    try:
        raw = read_toml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"--space {path} does not exist; expected a file with lines such as fraction = [0.001, 0.005]") from None
    except InputError as error:
        raise InputError(f"--space {error}; expected lines such as fraction = [0.001, 0.005]") from None
    for name, values in raw.items():
        if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
            raise InputError(f"--space {path}: {name} is {values!r}; expected a list of values, {name} = [V1, V2]")
    return [(name, [_text(value) for value in values]) for name, values in raw.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(plan: Sweep) -> Iterator[list[tuple[str, str]]]:
    """The settings by their number in the grid, the last option changing fastest; drawn ones in the order of the draw."""
    if plan.trials is not None and plan.trials < 1:
        raise InputError(f"--trials is {plan.trials}; expected at least 1")
    if plan.trials is None and plan.grid > TRIALS:
        raise InputError(f"the space has {plan.grid} settings; expected at most {TRIALS}, or --trials N for some of them")
    numbers: Sequence[int] = range(plan.grid)
    if plan.trials is not None and plan.trials < plan.grid:
        random = Random(f"sweep {plan.draw}")  # seeded by text: the same on every machine and Python
        drawn: dict[int, None] = {}
        while len(drawn) < plan.trials:
            drawn[random.randrange(plan.grid)] = None
        numbers = list(drawn)
    for number in numbers:
        setting = []
        for name, values in reversed(list(plan.space.items())):
            number, place = divmod(number, len(values))
            setting.append((name, values[place]))
        yield setting[::-1]


def sweep(plan: Sweep, folder: Path, measure: Measure, show: Show | None = None, overwrite: bool = False) -> list[Cell]:
    """Run the missing cells and return all, trial by trial. `measure` is called with each finished run folder.

    A trial that fails is a cell with its reason; the others continue. InputError: unknown names, and a folder with another sweep.
    """
    from eval.bench.cells import run_cell

    report: Show = show or (lambda event: None)
    if processes()[1] > 1:
        raise InputError("a sweep is one process, and several were started together; give the command without `accelerate launch`")
    rows = tuple(plan.settings())
    whole = replace(filled(Bench(plan.job, plan.concepts, rows, plan.seeds), None if overwrite else folder), gold={})
    names = [load_concept(name, plan.job.model).name for name in plan.concepts]
    # Trials, concepts and seeds may be added; the shared options must not change.
    options = {**shared_options(whole), "kind": "sweep", "method": plan.job.method, "preset": plan.job.preset, "space": dict(plan.space)}
    cells: list[Cell] = []
    with Run.open(folder, options, overwrite):
        total = len(rows) * len(names) * len(plan.seeds)
        for number, row in enumerate(rows, start=1):
            for text, name in zip(plan.concepts, names, strict=True):
                for seed in plan.seeds:
                    place = folder / "runs" / f"{name}-{seed}-{trial_name(row)}"
                    report(Event(f"{name}, seed {seed}", 0, 0, note=f"trial {number}: {row.label} ({len(cells) + 1} of {total})"))
                    job = replace(whole.job, concepts=(text,), seed=seed, output=str(place))
                    cells.append(run_cell(whole, row, job, name, folder, measure, report))
    return cells


def trial_name(row: Entry) -> str:
    """A folder's name for a trial: its setting."""
    return slug(row.label.partition(":")[2])


def flags(label: str) -> str:
    """A trial as flags of the main job."""
    name, _, setting = label.partition(":")
    words = [f"--method {name}"] if name != "scissorhands" else []
    for pair in setting.split(","):
        key, _, value = pair.partition("=")
        flag = key.replace("_", "-")
        words.append({"true": f"--{flag}", "false": f"--no-{flag}"}.get(value, f"--{flag} {value}"))
    return " ".join(words)
