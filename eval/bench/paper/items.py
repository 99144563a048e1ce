"""The tables and figures of the Scissorhands paper as TOML files (prompts/paper/): cells, rows, columns and published values.

A published value that is not known to us is absent. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from erase.concepts import prompts_folder
from erase.errors import InputError
from erase.files import read_toml
from eval.toml_schema import hint

Kind = Literal["table", "curves", "gradcam", "measures", "detections", "grid", "flagged"]
TRAINED = ("table", "curves", "gradcam")
"""Kinds whose networks are trained and unlearned here; the others are made from finished runs."""

Pairs = tuple[tuple[str, str], ...]
Published = Mapping[str, Mapping[str, float | str]]
"""Title of a row -> metric -> the paper's value, or a text such as ">200"."""

Part = TypeVar("Part", "Cell", "Panel", "Item")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One block of a table: a data set and what is forgotten of it, or a protocol, with the paper's values.

    `samples` and `test_samples` are their numbers, `classes` those of a folder; 0: not known. `columns` are the table's, unless the
    block has its own.
    """

    title: str
    dataset: str = ""
    forget: str = ""
    protocol: str = ""
    samples: int = 0
    test_samples: int = 0
    classes: int = 0
    columns: Pairs = ()
    published: Published = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return "-".join(filter(None, (self.dataset or self.protocol, self.forget.replace(":", "-").replace("%", ""))))

    @property
    def share(self) -> float:
        """The share that is forgotten, of the samples or, of CelebAMask-HQ, of the classes; 0 for classes by name."""
        what = self.forget.partition(":")[2]
        return float(what.removesuffix("%")) / 100 if what.endswith("%") else 0.0

    @property
    def whole_classes(self) -> bool:
        """Whether whole classes are forgotten."""
        return self.forget.startswith("class:")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart: an option of Scissorhands and its values; of `sensitivity_batches` they are shares of the forget set."""

    title: str
    option: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or a figure. `rows` are (row of `classify --methods`, title), `columns` (metric, title)."""

    name: str
    title: str
    about: str
    kind: Kind
    needs: str
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    seeds: int = 1
    relearn: int = 0
    rows: Pairs = ()
    columns: Pairs = ()
    labels: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    panels: tuple[Panel, ...] = ()

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        if self.kind not in TRAINED:
            return "the pictures of two runs or more, measured"
        rows = [spec for spec, _ in self.rows if spec != "retrain"]
        count = len(rows) + sum(len(panel.values) for panel in self.panels)
        words = f"{self.seeds} seed{'s' * (self.seeds > 1)} x {2 + count} networks, of which 2 are trained from scratch"
        return f"{len(self.cells)} data sets x {words}" if len(self.cells) > 1 else words

    def columns_of(self, cell: Cell) -> Pairs:
        """Metric and title of each column of a block."""
        return cell.columns or self.columns


def items_folder() -> Path:
    """The folder of the shipped files."""
    return prompts_folder() / "paper"


def list_items() -> list[Item]:
    """Every table and figure, tables first."""
    return sorted(map(read_item, items_folder().glob("*.toml")), key=lambda item: (item.name.startswith("figure"), item.name))


def load_item(name: str) -> Item:
    """A table or figure by name: `table1`, `Table 1` or `T1`. InputError with the nearest name."""
    known = {path.stem: path for path in sorted(items_folder().glob("*.toml"))}
    plain = "".join(name.split()).casefold()
    plain = {"t": "table", "f": "figure"}.get(plain[:1], "") + plain[1:] if plain[1:].isdigit() else plain
    if plain not in known:
        raise InputError(f"the paper has no {name!r}{hint(plain, list(known))}; give one of {', '.join(known)}", option="item")
    return read_item(known[plain])


def read_item(path: Path) -> Item:
    """A file, checked; InputError with the file, the key and what is wrong."""
    try:
        raw = read_toml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; expected a TOML file in UTF-8") from None
    cells = tuple(_part(Cell, one, f"{path}, cell {k}") for k, one in enumerate(raw.pop("cells", []), 1))
    panels = tuple(_part(Panel, one, f"{path}, panel {k}") for k, one in enumerate(raw.pop("panels", []), 1))
    item: Item = _part(Item, {**raw, "cells": cells, "panels": panels}, str(path))
    if item.kind not in get_args(Kind):
        raise InputError(f'{path}: the key "kind" is {item.kind!r}{hint(str(item.kind), get_args(Kind))}')
    for cell in item.cells:
        _check(item, cell, path)
    return item


def _part(schema: type[Part], raw: Mapping[str, Any], where: str) -> Part:
    known = {one.name for one in fields(schema)}
    if unknown := next((name for name in raw if name not in known), None):
        raise InputError(f'{where}: unknown key "{unknown}"{hint(unknown, sorted(known))}; allowed: {", ".join(sorted(known))}')
    try:
        return schema(**{name: _frozen(value) for name, value in raw.items()})
    except TypeError as error:  # a key without a default is missing
        raise InputError(f"{where}: {str(error).partition(' ')[2]}; add what is missing") from None


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _check(item: Item, cell: Cell, path: Path) -> None:
    """InputError for a published value of a row or column that the table does not have, or that is no value."""
    titles, metrics = [title for _, title in item.rows], [metric for metric, _ in item.columns_of(cell)]
    for title, values in cell.published.items():
        if title not in titles:
            raise InputError(f"{path}: {cell.title} has values of {title!r}{hint(title, titles)}, which is no row of it")
        for metric, value in values.items():
            if metric not in metrics:
                raise InputError(f"{path}: {cell.title}, {title}: {metric!r}{hint(metric, metrics)} is no column of it")
            if not isinstance(value, str) and not (isinstance(value, int | float) and math.isfinite(value)):
                raise InputError(f"{path}: {cell.title}, {title}, {metric} is {value!r}; expected a number, or a text such as >200")
