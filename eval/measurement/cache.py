"""Measurements on disk: one JSON line per image, and accumulated sums of the features of an image set.

A process that is killed loses at most the images since its last save, and none counts twice. Several processes measure shards of
one set side by side, each in files of its own. Memory does not grow with the number of images. Only `Shard.open_for_writing`
writes; `read_shard` and `gather` never do, so a report can be read while a measurement runs, and from a read-only folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erase.checkpoints.safetensors_header import load_tensors
from erase.errors import InputError
from erase.files import read_json, write_json, write_tensors, written
from erase.files.disk import disk_errors
from erase.run import append_lines, lines_of, read_lines
from eval.measurement.aggregate import Measurements, Record
from eval.metrics.frechet import Moments
from eval.metrics.kid import Sample

SAVE_EVERY = 500  # images between two saves of the sums; after a kill at most this many are measured again
FACTS = "facts.json"


def prepare(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep measurements that were made with exactly these facts (detector, extractors, prompts); delete any others."""
    record = json.loads(json.dumps(facts))
    path = folder / FACTS
    if path.exists() and _known(path) == record:
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_json(path, record)


def _known(path: Path) -> object:
    """The facts of earlier measurements; None where they cannot be read, which are then made again."""
    try:
        return read_json(path)
    except InputError:
        return None


@dataclass(frozen=True)
class ShardFiles:
    """The two files of a process's shard."""

    lines: Path
    sums: Path

    @classmethod
    def of(cls, folder: Path, which: str, part: int) -> ShardFiles:
        """Those of process `part` in a folder; `which` is the image set."""
        return cls(folder / f"{which}.{part}.jsonl", folder / f"{which}.{part}.safetensors")


@dataclass(frozen=True)
class SavedShard:
    """What a process has saved: indexes of the images, their records in the order of measuring, and the sums of features."""

    indexes: list[int]
    records: list[dict[str, Any]]
    moments: Moments
    sample: Sample


def read_shard(files: ShardFiles, total: int, dimension: int | None) -> SavedShard:
    """The saved part of a shard of `total` images with features of this `dimension`; lines that were not saved yet are left out."""
    sample = Sample(total)
    if not files.sums.exists():
        return SavedShard([], [], Moments.empty(dimension or 0), sample)
    tensors = load_tensors(files.sums, ["done"])  # before the lines: the line of a saved image was written first
    if features := _under("sample/", tensors):
        sample.load_state_dict(features)
    indexes = tensors["done"].tolist()
    saved = set(indexes)
    records = [row for row in read_lines(files.lines) if row["index"] in saved]
    return SavedShard(indexes, records, Moments.from_state_dict(_under("moments/", tensors)), sample)


def gather(folder: Path, which: str, total: int, dimension: int | None) -> Measurements:
    """All saved measurements of an image set, of any number of processes: records ordered by image index, and sums."""
    records: list[Record] = []
    moments, sample = Moments.empty(dimension or 0), Sample(total)
    for path in sorted(folder.glob(f"{which}.*.safetensors")):
        shard = read_shard(ShardFiles.of(folder, which, int(path.name.split(".")[1])), total, dimension)
        records += shard.records
        moments.merge(shard.moments)
        sample.merge(shard.sample)
    return Measurements(sorted(records, key=lambda record: int(record["index"])), moments, sample)


class Shard:
    """One process's shard of the measurements of an image set, open for writing. `done` are images that any process has measured."""

    def __init__(self, files: ShardFiles, saved: SavedShard, done: set[int]) -> None:
        self.files = files
        self.own = saved.indexes
        self.moments = saved.moments
        self.sample = saved.sample
        self.done = done
        self.unsaved = 0

    @classmethod
    def open_for_writing(cls, folder: Path, which: str, total: int, dimension: int | None, part: int = 0) -> Shard:
        """Process `part`'s shard of `total` images; `dimension` is that of the features, None without an extractor.

        Lines that a killed process did not save are removed: their images are measured again. Only one process may have a shard open.
        """
        files = ShardFiles.of(folder, which, part)
        saved = read_shard(files, total, dimension)
        with written(files.lines) as file:
            file.write_text(lines_of(saved.records), encoding="utf-8")
        done = {index for path in folder.glob(f"{which}.*.safetensors") for index in load_tensors(path, ["done"])["done"].tolist()}
        return cls(files, saved, done)

    def add(self, records: Sequence[Record], indexes: Sequence[int], features: Tensor | None) -> None:
        """One record per image, each with its `index`; and the features (n, d) of the images with these indexes."""
        with disk_errors(self.files.lines):
            append_lines(self.files.lines, records)
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
        """Write the sums; a restart resumes from here."""
        if not self.unsaved:
            return
        tensors = {"done": torch.tensor(self.own)} | {f"moments/{name}": t for name, t in self.moments.state_dict().items()}
        if self.sample.rows:
            tensors |= {f"sample/{name}": t for name, t in self.sample.state_dict().items()}
        with disk_errors(self.files.sums):
            write_tensors(self.files.sums, tensors)
        self.unsaved = 0


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
