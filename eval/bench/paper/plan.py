"""From a table or figure and the user's options to jobs: one for each cell, with the rows and settings of that cell.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

from erase.methods import CLASSIFIER_METHODS
from erase.methods.base import ClassifierMethod
from erase.methods.classifiers.released import CELEBA, REFERENCE, cell_of, preset_on, values_at
from erase.methods.spec import RETRAIN, Entry
from erase.options import check, option
from eval.bench.paper.items import TRAINED, Cell, Item, Panel
from eval.classifiers.options import DEFAULTS, Classify, Training, entries

DIGITS, LEAST = 897, 100  # training samples of a rehearsal: all that digits has, and the fewest
REHEARSED = {"network": "eval.bench.paper.rehearsal:network", "batch": 16, "augment": False}
BATCHES = "sensitivity_batches"
NAMED = ("learning_rate", "epochs", "fraction", "forget_weight", "l1", "strength")
"""Options that a sentence about a choice of ours names."""


@dataclass(frozen=True)
class Reproduction:
    """Options of `erase-concept reproduce`. None: as the paper has it, or as usual."""

    data: str | None = option(None, "where the data is: torchvision's folder of CIFAR and SVHN (default: data), or CelebAMask-HQ's images")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    seeds: int | None = option(None, "number of seeds; each repeats everything, training included. By default as the list says", low=1)
    preset: str = option(
        "paper", "settings of every method: what the paper says, or what its released script does", choices=("paper", REFERENCE)
    )
    scale: float | None = option(
        None,
        "a rehearsal: the same code on scikit-learn's digits, with a small network, this share of the samples and of the epochs",
        above=0.0,
        high=1.0,
    )
    pictures: int = option(8, "columns of a grid of pictures", low=1, high=64)
    uncensored: bool = option(False, "do not blur pictures that may show nudity")
    output: str | None = option(None, "folder of the results; by default runs/paper-<table>")
    overwrite: bool = option(False, "start again in a folder that holds other results")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Row:
    """A row of the table: its title, and the entry of the comparison; None for retraining, which every comparison has."""

    title: str
    entry: Entry | None

    @property
    def label(self) -> str:
        """Of its line in the results."""
        return self.entry.label if self.entry else RETRAIN


@dataclass(frozen=True)
class Point:
    """A value of a panel, on the axis, and the label of the row that has it."""

    x: float
    label: str


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its job, its rows, the points of each panel, and whether the settings were released for just this cell."""

    cell: Cell
    job: Classify
    rows: tuple[Row, ...]
    points: Mapping[str, tuple[Point, ...]]
    further: tuple[Entry, ...]
    released: bool
    nearest: str

    @property
    def entries(self) -> list[Entry]:
        """Everything that is run beside the original and retraining."""
        return [*(row.entry for row in self.rows if row.entry), *self.further]

    @property
    def forgotten(self) -> int:
        """Training samples that are forgotten, about; a class has an equal share."""
        classes = self.cell.classes or 10
        share = self.cell.share or 1 / classes
        return max(1, round(share * (self.job.train_samples or self.cell.samples)))

    def record(self) -> dict[str, Any]:
        """What the results of this cell depend on, beside the device."""
        job = {name: value for name, value in self.job.record().items() if name not in ("data", "device")}
        if self.cell.dataset == CELEBA:
            job.pop("dataset")  # a folder, which may move
        return {"job": job, "rows": {entry.label: vars(settled(entry, self.cell)) for entry in self.entries}}


def settled(entry: Entry, cell: Cell) -> ClassifierMethod:
    """A row's method with its preset's values for this cell."""
    values, _ = values_at(CLASSIFIER_METHODS[entry.method], entry.preset, _share(cell), cell.whole_classes)
    method: ClassifierMethod = replace(entry, values={**values, **entry.values}).make()
    return method


def in_words(method: ClassifierMethod) -> str:
    """The main values of a method."""
    values = vars(method)
    return ", ".join(f"{name} {values[name]:g}" for name in NAMED if isinstance(values.get(name), int | float))


def planned(item: Item, options: Reproduction) -> tuple[PlannedCell, ...]:
    """Every cell of a table that is trained here."""
    return tuple(_planned(item, cell, options) for cell in item.cells) if item.kind in TRAINED else ()


def _planned(item: Item, cell: Cell, options: Reproduction) -> PlannedCell:
    job = _job(item, cell, options)
    usual = preset_on(options.preset, cell.dataset)
    rows = []
    for spec, title in item.rows:
        entry = None if spec == RETRAIN else _rehearsed(entries([spec], usual)[0], cell, options.scale)
        rows.append(Row(title, entry))
    planned_cell = PlannedCell(cell, job, tuple(rows), {}, (), *_released(cell))
    base = next((row.entry for row in rows if row.entry and row.entry.method == "scissorhands"), None)
    if not item.panels or base is None:
        return planned_cell
    varied = {panel.title: list(_varied(panel, base, planned_cell)) for panel in item.panels}
    points = {title: tuple(point for point, _ in pairs) for title, pairs in varied.items()}
    further = {entry.label: entry for pairs in varied.values() for _, entry in pairs if entry.label != base.label}
    return replace(planned_cell, points=points, further=tuple(further.values()))


def _varied(panel: Panel, base: Entry, planned_cell: PlannedCell) -> Iterator[tuple[Point, Entry]]:
    """Each value of a panel once; a value that the base has is the base's row."""
    batches = max(1, ceil(planned_cell.forgotten / planned_cell.job.training.batch))
    own = vars(settled(base, planned_cell.cell))[panel.option]
    seen = set()
    for asked in panel.values:
        value: float = max(1, round(asked * batches)) if panel.option == BATCHES else asked
        if value in seen:
            continue
        seen.add(value)
        x = value / batches if panel.option == BATCHES else value
        entry = replace(base, label=f"{base.method}:{panel.option}={value:g}", values={**base.values, panel.option: value})
        yield (Point(x, base.label), base) if value == own else (Point(x, entry.label), entry)


def _job(item: Item, cell: Cell, options: Reproduction) -> Classify:
    shared: dict[str, Any] = {
        "device": options.device, "forget": (cell.forget,), "seeds": options.seeds or item.seeds, "relearn": item.relearn,
    }  # fmt: skip
    training = DEFAULTS[cell.dataset]
    if options.scale is not None:
        return Classify(**shared | _rehearsal(item, cell, training, options.scale))
    if cell.dataset == CELEBA:
        return Classify(**shared, dataset=options.data or CELEBA, recipe=CELEBA)  # `check_data` refuses to run without a folder
    return Classify(**shared | ({} if options.data is None else {"data": options.data}), dataset=cell.dataset)


def _rehearsal(item: Item, cell: Cell, training: Training, scale: float) -> dict[str, Any]:
    return {
        **REHEARSED,
        "dataset": "digits",
        "train_samples": min(DIGITS, max(LEAST, round(cell.samples * scale))),
        "epochs": part(training.epochs, scale),
        "learning_rate": training.learning_rate,
        "cosine": training.cosine,
        "relearn": part(item.relearn, scale) if item.relearn else 0,
    }


def part(epochs: int, scale: float | None) -> int:
    """Epochs of a rehearsal."""
    return epochs if scale is None else max(1, round(epochs * scale))


def _rehearsed(entry: Entry, cell: Cell, scale: float | None) -> Entry:
    """The entry with epochs of a rehearsal, where it trains in epochs."""
    has = "epochs" in {one.name for one in fields(CLASSIFIER_METHODS[entry.method])}
    if scale is None or not has:
        return entry
    return replace(entry, values={**entry.values, "epochs": part(vars(settled(entry, cell))["epochs"], scale)})


def _share(cell: Cell) -> float:
    return cell.share or 0.1  # whole classes have no share, and a cell of their own


def _released(cell: Cell) -> tuple[bool, str]:
    """Whether settings were released for this cell, and the cell whose values are used, in words."""
    used = cell_of(cell.dataset, _share(cell), cell.whole_classes)
    return used.released, "whole classes" if used.name == "class" else f"{used.name} %"


def folder_of(item: Item, options: Reproduction) -> Path:
    """Where the results are."""
    return Path(options.output) if options.output else Path("runs") / f"paper-{item.name}"
