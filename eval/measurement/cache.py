"""What has been measured of an image set so far: a line a picture, and sums of its features.

Survives a kill: nothing is lost, nothing counts twice, and memory does not grow with the number of pictures. Several
processes measure parts of one set side by side, each in files of its own. Knows no detector and no extractor.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from erase.files import write_json, write_tensors, written
from erase.run import append_lines, disk_errors, lines_of, read_lines
from eval.metrics.frechet import Moments
from eval.metrics.kid import Sample

SAVE_EVERY = 500  # pictures between two savings of the sums; after a kill so many are looked at again
FACTS = "facts.json"


def prepare(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what was measured with these very facts (detector, extractors, prompts), and throw away what was not."""
    wanted = json.loads(json.dumps(facts))
    path = folder / FACTS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_json(path, wanted)


class Measured:
    """One process's share of what is measured of `total` pictures; `dimension` is that of the features, None without."""

    def __init__(self, folder: Path, which: str, total: int, dimension: int | None, part: int = 0) -> None:
        self.lines, self.sums = folder / f"{which}.{part}.jsonl", folder / f"{which}.{part}.safetensors"
        self.own: list[int] = []
        self.moments = Moments.empty(dimension or 0)
        self.sample = Sample(total)
        self.unsaved = 0
        if self.sums.exists():
            self._restore(load_file(self.sums))
        kept = set(self.own)
        with written(self.lines) as file:
            file.write_text(lines_of(row for row in read_lines(self.lines) if row["index"] in kept), encoding="utf-8")
        self.done = {index for path in folder.glob(f"{which}.*.safetensors") for index in load_file(path)["done"].tolist()}

    def add(self, records: Sequence[Mapping[str, Any]], indexes: Sequence[int], features: Tensor | None) -> None:
        """A line for each picture, each with its `index`; and the features (n, d) of the pictures with these indexes."""
        with disk_errors(self.lines):
            append_lines(self.lines, records)
        new = [int(record["index"]) for record in records]
        self.own += new
        self.done.update(new)
        if features is not None and len(indexes):
            self.moments.update(features)
            self.sample.update(indexes, features)
        self.unsaved += len(new)
        if self.unsaved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """From here a restart goes on."""
        if not self.unsaved:
            return
        tensors = {"done": torch.tensor(self.own)} | {f"moments/{name}": t for name, t in self.moments.tensors().items()}
        if self.sample.rows:
            tensors |= {f"sample/{name}": t for name, t in self.sample.tensors().items()}
        with disk_errors(self.sums):
            write_tensors(self.sums, tensors)
        self.unsaved = 0

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.own = tensors["done"].tolist()
        self.moments = Moments.of(_under("moments/", tensors))
        if "sample/indexes" in tensors:
            self.sample.restore(_under("sample/", tensors))


def gather(folder: Path, which: str, total: int, dimension: int | None) -> tuple[list[dict[str, Any]], Moments, Sample]:
    """All that was measured of a set, by whichever process: its lines in the order of the pictures, and its sums."""
    records: list[dict[str, Any]] = []
    moments, sample = Moments.empty(dimension or 0), Sample(total)
    for path in sorted(folder.glob(f"{which}.*.safetensors")):
        part = Measured(folder, which, total, dimension, int(path.name.split(".")[1]))
        records += read_lines(part.lines)
        moments.merge(part.moments)
        sample.merge(part.sample)
    return sorted(records, key=lambda record: int(record["index"])), moments, sample


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
