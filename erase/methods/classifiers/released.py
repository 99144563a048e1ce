"""Presets with released settings: by data set and by what is forgotten, as the paper has them and as its script does.

`cifar10`, `cifar100`, `svhn` and `celeba` follow the paper (`paper` is `cifar10`), `NAME-reference` the released script (`reference` is
that of CIFAR-10). Their values are those of 10 %; other shares and whole classes have their own (`values_at`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erase.methods.base import ClassifierMethod

Values = Mapping[str, Any]
ByShare = Mapping[str, Values]
"""Cell -> values that differ from those of 10 %. A cell is a percentage of samples ("20"), or "class": whole classes."""

CELEBA = "celeba"
DATASETS = ("cifar10", "cifar100", "svhn", CELEBA)
REFERENCE = "reference"
CLASS = "class"
USUAL = "10"
"""The cell whose values a preset has."""

CELLS: Mapping[str, tuple[str, ...]] = {
    "cifar10": (USUAL, "20", "50"),
    "cifar100": (USUAL, "20", "50"),
    "svhn": (USUAL, "20", CLASS),
    CELEBA: (USUAL,),
}
"""The cells that command lines were released for. Those of celeba are shares of its classes, the people."""

NEAR = 1.05
"""Largest factor between a share and that of a cell for which they are the same."""


@dataclass(frozen=True)
class Cell:
    """The cell whose values are used, and whether they were released for just this share of just this kind."""

    name: str
    released: bool


def preset_on(preset: str, dataset: str) -> str:
    """`paper` and `reference` on one of DATASETS are the presets of that data set; any other preset is itself."""
    if dataset not in DATASETS or preset not in ("paper", REFERENCE):
        return preset
    return dataset if preset == "paper" else reference_of(dataset)


def dataset_of(preset: str) -> str | None:
    """The data set whose settings a preset has; None for other presets."""
    name = DATASETS[0] if preset in ("paper", REFERENCE) else preset.removesuffix(f"-{REFERENCE}")
    return name if name in DATASETS else None


def cell_of(dataset: str, share: float, classes: bool) -> Cell:
    """The cell for forgetting this share of the samples, or, with `classes`, whole classes: that of the nearest share by ratio."""
    cells = CELLS[dataset]
    if classes and CLASS in cells:
        return Cell(CLASS, True)
    distance, name = min((max(share * 100 / float(cell), float(cell) / (share * 100)), cell) for cell in cells if cell != CLASS)
    return Cell(name, distance <= NEAR and classes == (dataset == CELEBA))


def reference_of(dataset: str) -> str:
    """The preset that follows the script on a data set."""
    return f"{dataset}-{REFERENCE}"


@dataclass(frozen=True)
class Released:
    """The settings of one method. Values of a data set (`datasets`) replace those of all (`both`, `paper` or `reference`);
    `papers` and `scripts` are values of a data set in the presets of the paper, or of the script, alone.
    """

    both: Values = field(default_factory=dict)
    paper: Values = field(default_factory=dict)
    reference: Values = field(default_factory=dict)
    datasets: Mapping[str, Values] = field(default_factory=dict)
    papers: Mapping[str, Values] = field(default_factory=dict)
    scripts: Mapping[str, Values] = field(default_factory=dict)
    shares: Mapping[str, ByShare] = field(default_factory=dict)
    script_shares: Mapping[str, ByShare] = field(default_factory=dict)

    def presets(self) -> dict[str, Values]:
        """Preset -> values that differ from the defaults."""
        found: dict[str, Values] = {"balanced": {}}
        for name in DATASETS:
            found[name] = {**self.both, **self.paper, **self.datasets.get(name, {}), **self.papers.get(name, {})}
        for name in DATASETS:
            found[reference_of(name)] = {**self.both, **self.reference, **self.datasets.get(name, {}), **self.scripts.get(name, {})}
        return found | {"paper": found[DATASETS[0]], REFERENCE: found[reference_of(DATASETS[0])]}

    def by_share(self) -> dict[str, ByShare]:
        """Preset -> what differs at other shares."""
        found: dict[str, ByShare] = {}
        for name in DATASETS:
            paper, script = self.shares.get(name, {}), self.script_shares.get(name, {})
            found[name] = paper
            found[reference_of(name)] = {cell: {**paper.get(cell, {}), **script.get(cell, {})} for cell in {**paper, **script}}
        return found | {"paper": found[DATASETS[0]], REFERENCE: found[reference_of(DATASETS[0])]}


def values_at(method: type[ClassifierMethod], preset: str, share: float, classes: bool = False) -> tuple[Values, Cell | None]:
    """What a preset of this method has for forgetting a share of the samples (or whole classes), and the cell that it is from.

    The values go on top of the preset's; no cell for a preset that is not named after a data set or a paper.
    """
    dataset = dataset_of(preset)
    if dataset is None:
        return {}, None
    cell = cell_of(dataset, share, classes)
    return method.shares.get(preset, {}).get(cell.name, {}), cell
