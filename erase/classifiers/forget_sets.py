"""What is to be forgotten, in words (`random:10%`, `class:cat`, `ids:takedown.csv`) -> rows of the training samples.

Knows samples and the names of classes; knows no network.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from erase.classifiers.datasets import Data, Samples
from erase.errors import InputError
from erase.task import generator

FORMS = "random:10%, random:30, class:NAME, class:10%, class:random, identity:NAME or ids:FILE.csv"


@dataclass(frozen=True)
class Case:
    """One seed after one or more requests: what was to be forgotten and retained so far, and what it is measured with.

    `test` holds no sample of a class that is forgotten whole; those are in `gone`. `train` gives the network that is trained
    on these rows of the training samples and kept under this name.
    """

    seed: int
    training: Samples
    forget: Tensor
    retain: Tensor
    test: Samples
    gone: Samples
    batch: int
    train: Callable[[str, Tensor], nn.Module]


def make_case(data: Data, forget: Tensor, seed: int, batch: int, train: Callable[[str, Tensor], nn.Module], on: str = "test") -> Case:
    """A case from the rows to forget; `on` is "test" or "validation"."""
    kept = torch.ones(len(data.train), dtype=torch.bool)
    kept[forget] = False
    held = data.test if on == "test" else data.validation
    gone = torch.isin(held.y.cpu(), torch.tensor(forgotten_classes(data, forget), dtype=torch.int64))
    test, lost = (held[mask.nonzero()[:, 0]] for mask in (~gone, gone))
    return Case(seed, data.train, forget, kept.nonzero()[:, 0], test, lost, batch, train)


def requested(data: Data, requests: Sequence[str], seed: int) -> list[Tensor]:
    """The training rows of each request, sorted; of requests one after another, a later one does not name a row again.

    What is random about a request depends on (seed, its number). InputError for a request that cannot be read, names
    what is not there, or leaves nothing to retain.
    """
    if not requests:
        raise InputError(f"--forget is missing; expected {FORMS}")
    taken = torch.zeros(len(data.train), dtype=torch.bool)
    found = []
    for number, text in enumerate(requests):
        kind, _, what = text.partition(":")
        if kind == "random":
            rows = _random(text, what, ~taken, (seed, "request", number))
        elif kind in ("class", "identity"):
            rows = torch.isin(data.train.y.cpu(), _classes(text, what, data, (seed, "request", number))) & ~taken
        elif kind == "ids":
            rows = _listed(Path(what), data.train.ids) & ~taken
        else:
            raise InputError(f"--forget {text!r} is not understood; expected {FORMS}")
        taken |= rows
        if not rows.any():
            raise InputError(f"--forget {text} chooses none of {len(data.train)} training samples; ask for more, or leave it out")
        if taken.all():
            raise InputError(f"--forget {text} leaves none of {len(data.train)} training samples to retain; ask for fewer")
        found.append(rows.nonzero()[:, 0])
    return found


def forgotten_classes(data: Data, rows: Tensor) -> list[int]:
    """Classes of which no training sample is left without these rows."""
    kept = torch.ones(len(data.train), dtype=torch.bool)
    kept[rows] = False
    return sorted(set(data.train.y.tolist()) - set(data.train.y[kept].tolist()))


def _share(text: str, what: str, whole: int) -> int:
    """`10%` or a count, of `whole`."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", what.strip())
    if number is None or (not number[2] and "." in number[1]):
        raise InputError(f"--forget {text!r} is not understood; expected a share as {text.split(':')[0]}:10% or a count as random:30")
    return round(whole * float(number[1]) / 100) if number[2] else int(number[1])


def _random(text: str, what: str, left: Tensor, key: tuple[object, ...]) -> Tensor:
    """A share of all samples, drawn from those that are left."""
    count, rows = _share(text, what, len(left)), left.nonzero()[:, 0]
    if count >= len(rows):
        raise InputError(f"--forget {text} asks for {count} of {len(rows)} training samples and leaves none to retain; ask for fewer")
    chosen = torch.zeros_like(left)
    chosen[rows[torch.randperm(len(rows), generator=generator(*key))[:count]]] = True
    return chosen


def _classes(text: str, what: str, data: Data, key: tuple[object, ...]) -> Tensor:
    """Classes by name, or drawn."""
    if what == "random" or re.fullmatch(r"[\d.]+%", what):
        count = 1 if what == "random" else _share(text, what, len(data.classes))
        return torch.randperm(len(data.classes), generator=generator(*key))[:count]
    labels = {name.lower(): label for label, name in enumerate(data.classes)}
    names = [name.strip().lower() for name in what.split(",")]
    for name in names:
        if name not in labels:
            close = get_close_matches(name, labels, n=1, cutoff=0.7)
            hint = f"; did you mean {data.classes[labels[close[0]]]!r}?" if close else ""
            raise InputError(f"--forget {text}: {data.name} has no class {name!r}{hint or f'; it has {_few(data.classes)}'}")
    return torch.tensor([labels[name] for name in names])


def _listed(path: Path, ids: Sequence[str]) -> Tensor:
    """The ids of a CSV: its column `id`, else its first column, with a heading or without."""
    if not path.is_file():
        raise InputError(f"--forget ids:{path} is not there; expected a CSV with a column id")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV in UTF-8 ({error}); expected a column id") from error
    heads = [cell.strip().lower() for cell in lines[0]] if lines else []
    column = heads.index("id") if "id" in heads else 0
    wanted = [line[column].strip() if column < len(line) else "" for line in lines["id" in heads :]]
    places = {name: row for row, name in enumerate(ids)}
    if strange := [name for name in wanted if name not in places]:
        raise InputError(
            f"{path} names {len(strange)} ids that are not among the {len(ids)} training samples: {_few(strange)}; ids are like {ids[0]!r}"
        )
    rows = torch.zeros(len(ids), dtype=torch.bool)
    rows[[places[name] for name in wanted]] = True
    return rows


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
