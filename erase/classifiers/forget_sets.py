"""Forget requests (`random:10%`, `class:cat`, `ids:takedown.csv`) -> rows of the training samples."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from erase.classifiers import FORMS
from erase.classifiers.datasets import Data, Samples
from erase.errors import InputError
from erase.files.tables import read_table
from erase.task import generator


@dataclass(frozen=True)
class Case:
    """One seed after one or more requests: the rows to forget and to retain so far, and the samples for measuring.

    `test` has no samples of classes that are forgotten completely; those are in `gone`. `train(name, rows)` returns the network
    trained on these rows of the training samples, which is saved under that name.
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
    retained = torch.ones(len(data.train), dtype=torch.bool)
    retained[forget] = False
    samples = data.test if on == "test" else data.validation
    in_gone = torch.isin(samples.y.cpu(), torch.tensor(forgotten_classes(data, forget), dtype=torch.int64))
    test, gone = (samples[mask.nonzero()[:, 0]] for mask in (~in_gone, in_gone))
    return Case(seed, data.train, forget, retained.nonzero()[:, 0], test, gone, batch, train)


def requested_rows(data: Data, requests: Sequence[str], seed: int) -> list[Tensor]:
    """The training rows of each request, sorted; a later request does not contain rows of an earlier one.

    The random part of a request depends on (seed, its number). InputError for a request that cannot be parsed, names an unknown
    class or sample, or leaves nothing to retain.
    """
    if not requests:
        raise InputError(f"--forget is missing; expected {FORMS}")
    taken = torch.zeros(len(data.train), dtype=torch.bool)
    requested = []
    for number, text in enumerate(requests):
        kind, _, what = text.partition(":")
        if kind == "random":
            rows = _random(text, what, ~taken, (seed, "request", number))
        elif kind in ("class", "identity"):
            rows = torch.isin(data.train.y.cpu(), _classes(text, what, data, (seed, "request", number))) & ~taken
        elif kind == "ids":
            rows = _listed(Path(what), data.train.ids) & ~taken
        else:
            raise InputError(f"--forget {text!r} is not a request; expected {FORMS}")
        taken |= rows
        if not rows.any():
            raise InputError(f"--forget {text} selects none of {len(data.train)} training samples; request more, or leave it out")
        if taken.all():
            raise InputError(f"--forget {text} leaves none of {len(data.train)} training samples to retain; request fewer")
        requested.append(rows.nonzero()[:, 0])
    return requested


def forgotten_classes(data: Data, rows: Tensor) -> list[int]:
    """Classes without a training sample once these rows are removed."""
    remaining = torch.ones(len(data.train), dtype=torch.bool)
    remaining[rows] = False
    return sorted(set(data.train.y.tolist()) - set(data.train.y[remaining].tolist()))


def _share(text: str, what: str, whole: int) -> float:
    """The count meant by `10%` of `whole`, not rounded, or by a number."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", what.strip())
    if number is None or (not number[2] and "." in number[1]):
        raise InputError(f"--forget {text!r} is not a request; expected a share as in {text.split(':')[0]}:10% or a count as in random:30")
    return whole * float(number[1]) / 100 if number[2] else int(number[1])


def _random(text: str, what: str, left: Tensor, key: tuple[object, ...]) -> Tensor:
    """A share of all samples, drawn at random from those that are left."""
    count, rows = round(_share(text, what, len(left))), left.nonzero()[:, 0]
    if count >= len(rows):
        raise InputError(f"--forget {text} asks for {count} of {len(rows)} training samples and leaves none to retain; request fewer")
    chosen = torch.zeros_like(left)
    chosen[rows[torch.randperm(len(rows), generator=generator(*key))[:count]]] = True
    return chosen


def _classes(text: str, what: str, data: Data, key: tuple[object, ...]) -> Tensor:
    """Classes by name, or drawn at random."""
    if what == "random" or re.fullmatch(r"[\d.]+%", what):
        # Published scripts round down: a tenth of 307 people are 30.
        count = 1 if what == "random" else math.floor(share) if (share := _share(text, what, len(data.classes))) >= 1 else round(share)
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
    """Bool (samples,): the ids of a CSV, from its column `id` or else its first column, with or without a header."""
    if not path.is_file():
        raise InputError(f"--forget ids:{path} does not exist; expected a CSV with a column id")
    first, table = read_table(path, [{"id"}, {"Id"}, {"ID"}])
    lines = [first] * bool(first) + [cells for _, cells in table]
    heads = [cell.strip().lower() for cell in first]
    column = heads.index("id") if "id" in heads else 0
    listed = [line[column].strip() if column < len(line) else "" for line in lines["id" in heads :]]
    row_of = {name: row for row, name in enumerate(ids)}
    if unknown := [name for name in listed if name not in row_of]:
        raise InputError(
            f"{path} lists {len(unknown)} ids that are not among the {len(ids)} training samples: {_few(unknown)}; ids look like {ids[0]!r}"
        )
    rows = torch.zeros(len(ids), dtype=torch.bool)
    rows[[row_of[name] for name in listed]] = True
    return rows


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
