"""Runs every method on every seed: trains the original and the retrained networks, unlearns, and measures each network.

results.jsonl has one line for each method, seed and request; results that have their line are not computed again. The metrics are the
caller's `measure`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from erase.checkpoints.safetensors_header import load_tensors
from erase.classifiers.datasets import Data, crop_and_mirror, load_data, mirror
from erase.classifiers.forget_sets import Case, forgotten_classes, make_case, requested_rows
from erase.classifiers.networks import build_network
from erase.classifiers.saved_networks import read_facts, read_network, train, write_network
from erase.classifiers.task import ClassifierTask, LabelledSets, classifier_task
from erase.diffusion import pick_device
from erase.errors import Diverged, InputError
from erase.files import sha256, write_tensors
from erase.files.disk import disk_errors
from erase.methods import CLASSIFIER_METHODS
from erase.methods.base import ClassifierMethod
from erase.methods.classifiers.released import CELEBA, Cell, dataset_of, values_at
from erase.methods.classifiers.retrain import Retrain
from erase.methods.spec import RETRAIN, Entry
from erase.options import added_options, differences
from erase.pipeline.job import Event, Show
from erase.run import RUNS, Run, append_lines, next_run_folder, read_lines
from erase.training.meters import Clock, Memory
from eval.classifiers.options import ADDED, Classify

ORIGINAL = "original"

Facts = dict[str, Any]
"""What is recorded of a network in results.jsonl, beside its metrics."""

Measure = Callable[[nn.Module, Case], Mapping[str, Any]]
"""A network and its case -> metrics."""


class Outcome(NamedTuple):
    """What a method made of the original, and the facts about it; `network` is None where the method diverged."""

    facts: Facts
    network: nn.Module | None


@dataclass(frozen=True)
class SeedRun:
    """One seed of a job: its data on the device, its options and its folder."""

    job: Classify
    data: Data
    device: str
    folder: Path
    seed: int
    show: Show

    def fresh(self) -> nn.Module:
        """The untrained network of this seed."""
        data, training = self.data, self.job.training
        network = build_network(training.network, len(data.classes), data.channels, data.size, self.seed, training.weights)
        return network.to(self.device)

    def task(self, network: nn.Module, forget: Tensor | None, retain: Tensor) -> ClassifierTask:
        """The task of forgetting these rows of the training samples; without a forget set, of training on `retain`."""
        training, data = self.job.training, self.data
        sets = LabelledSets(
            forget=None if forget is None else data.train[forget],
            retain=data.train[retain],
            classes=len(data.classes),
            held_out=data.validation,
            augment=(crop_and_mirror if training.shift else mirror) if training.augment else None,
        )
        return classifier_task(network.train(), sets, batch=training.batch, seed=self.seed, fresh=self.fresh)

    def trained(self, name: str, rows: Tensor) -> nn.Module:
        """The network trained from scratch on these rows; saved under this name, and resumed where it was stopped."""
        path = self.folder / "models" / f"{name}-{self.seed}.safetensors"
        network = self.fresh()
        if not path.exists():
            task, training = self.task(network, None, rows), self.job.training
            method = Retrain(training.epochs, training.learning_rate, weight_decay=self.job.weight_decay, cosine=training.cosine)
            total = training.epochs * task.epoch_retain
            train(method, task, path, lambda step: self.show(Event(f"train {name}, seed {self.seed}", step, total)))
        read_network(path, network)
        return network

    def original(self) -> nn.Module:
        """The network trained on all samples: the user's, or trained here."""
        if self.job.original is None:
            return self.trained(ORIGINAL, torch.arange(len(self.data.train)))
        network = self.fresh()
        read_network(Path(self.job.original), network)
        return network

    def case(self, requests: Sequence[Tensor]) -> Case:
        """The case after these requests."""
        forget = torch.cat(list(requests)).sort().values
        return make_case(self.data, forget, self.seed, self.job.training.batch, self.trained, self.job.on)


def unlearn_all(job: Classify, rows: Sequence[Entry], measure: Measure, show: Show | None = None) -> Path:
    """Compute the missing results and return the folder. `original` and `retrain` are rows of every table.

    With several requests a method continues from its own network after the request before. A method that diverges has a line that
    says so, and the other methods run. InputError: the user's mistakes, and a folder that contains a run with other options.
    """
    record = job.record()
    folder = Path(job.output) if job.output else next_run_folder(RUNS, "classify", job.dataset, job.on)
    device = pick_device(job.device)
    data = _data(job)
    requested_rows(data, job.forget, job.first_seed)
    with Run.open(folder, {"kind": "classify", **record, "device": device}, job.overwrite, ADDED) as run:
        for seed in range(job.first_seed, job.first_seed + job.seeds):
            seed_run = SeedRun(job, data.to(device), device, run.folder, seed, show or (lambda event: None))
            _run_seed(seed_run, rows, measure)
            if seed != job.first_seed:
                _delete_networks(run.folder, seed, rows)
    return folder


def _data(job: Classify) -> Data:
    return load_data(job.dataset, Path(job.data), job.train_samples, job.training.size, job.training.edge)


def results(folder: Path) -> list[dict[str, Any]]:
    """The lines so far: method, label, preset, values, seed, request, seconds, ... and the metrics."""
    return read_lines(folder / "results.jsonl")


def model_path(folder: Path, label: str, seed: int, request: int) -> Path:
    """The file of a row's network."""
    safe = "".join(c if c.isalnum() or c in "._=-" else "_" for c in label)
    name = ORIGINAL if label == ORIGINAL else f"{safe}-{request}"
    return folder / "models" / f"{name}-{seed}.safetensors"


def networks(job: Classify, labels: Sequence[str], seed: int) -> tuple[Case, dict[str, nn.Module]]:
    """The case after the last request of a seed of a finished run, and the saved networks among these labels."""
    folder, device = Path(job.output or ""), pick_device(job.device)
    data = _data(job).to(device)
    seed_run = SeedRun(job, data, device, folder, seed, lambda event: None)
    requests = requested_rows(data, job.forget, seed)
    by_label: dict[str, nn.Module] = {}
    for label in labels:
        path = model_path(folder, label, seed, len(requests) - 1)
        if label == ORIGINAL:
            by_label[label] = seed_run.original().eval()
        elif path.exists():
            by_label[label] = seed_run.fresh().eval()
            read_network(path, by_label[label])
    return seed_run.case(requests), by_label


def export_model(job: Classify, label: str, out: Path, facts: Mapping[str, Any]) -> Path:
    """The network of a row and the first seed as safetensors, with the record of how it was made in the metadata."""
    folder = Path(job.output or "")
    path = model_path(folder, label, job.first_seed, len(job.forget) - 1)
    if not path.exists():
        raise InputError(f"--export {label}: {folder} has no such network; expected a row of its table that did not diverge")
    metadata = {**read_facts(path), **facts, "label": label, "seed": job.first_seed, "forget": list(job.forget), "classify": job.record()}
    original = model_path(folder, ORIGINAL, job.first_seed, 0)
    metadata["source_sha256"] = sha256(original) if original.exists() else None
    with disk_errors(out):
        write_tensors(out, load_tensors(path), {"erase-concept": json.dumps(metadata, sort_keys=True)})
    return out


def _run_seed(run: SeedRun, rows: Sequence[Entry], measure: Measure) -> None:
    """Every row of one seed, request by request."""
    done = {(line["label"], line["request"]): line for line in results(run.folder) if line["seed"] == run.seed}
    requests = requested_rows(run.data, run.job.forget, run.seed)
    settled = [[_settled(row, run.data, requests[: k + 1]) for row in rows] for k in range(len(requests))]
    for k, at_request in enumerate(settled):
        for row, _ in at_request:
            if (line := done.get((row.label, k))) is not None and _differs(row, line["values"]):
                raise InputError(
                    f"{run.folder} contains {row.label} with other options; give another --output, or --overwrite to start again"
                )
    for k, forget in enumerate(requests):
        values = {ORIGINAL: {}, RETRAIN: {}, **{row.label: vars(row.make()) for row, _ in settled[k]}}
        cells = {row.label: {} if cell is None else {"cell": cell.name, "released": cell.released} for row, cell in settled[k]}
        missing = [label for label in values if (label, k) not in done]
        if not missing:
            continue
        case, stage = run.case(requests[: k + 1]), f"unlearn and measure, seed {run.seed}"
        missing_rows = [row for row, _ in settled[k] if row.label in missing]
        for number, (label, outcome) in enumerate(_outcomes(run, case, forget, k, missing_rows, missing)):
            run.show(Event(stage, number, len(missing)))
            line = {"label": label, "values": values[label], **cells.get(label, {}), "seed": run.seed, "request": k}
            line |= {"forget": run.job.forget[k], **outcome.facts}
            line |= measure(outcome.network, case) if outcome.network is not None else {}
            with disk_errors(run.folder):
                append_lines(run.folder / "results.jsonl", [line], sync=True)
        run.show(Event(stage, len(missing), len(missing)))


def _settled(row: Entry, data: Data, requests: Sequence[Tensor]) -> tuple[Entry, Cell | None]:
    """The row with its preset's values for what the last of these requests forgets, and the cell that they are from."""
    dataset = dataset_of(row.preset)
    if dataset is None:
        return row, None
    forget, taken = requests[-1], torch.cat(list(requests[:-1])) if requests[1:] else requests[-1][:0]
    gone = forgotten_classes(data, torch.cat([taken, forget]))
    classes = set(data.train.y[forget.to(data.train.y.device)].tolist()) <= set(gone)
    of_people = classes and dataset == CELEBA  # its shares are of classes
    share = len(gone) / len(data.classes) if of_people else len(forget) / (len(data.train) - len(taken))
    values, cell = values_at(CLASSIFIER_METHODS[row.method], row.preset, share, classes)
    if cell is not None and dataset not in (data.name, CELEBA):  # celeba is a folder, under any name
        cell = replace(cell, released=False)
    return replace(row, values={**values, **row.values}), cell


def _differs(row: Entry, recorded: Mapping[str, Any]) -> bool:
    """Whether a line's options are not those of the row; an option that a line of an earlier version lacks has its default."""
    requested = json.loads(json.dumps(vars(row.make())))
    return bool(differences(recorded, requested, added_options(row.table[row.method])))


def _outcomes(
    run: SeedRun, case: Case, forget: Tensor, k: int, rows: Sequence[Entry], missing: Sequence[str]
) -> Iterator[tuple[str, Outcome]]:
    """The missing networks of request k, by label."""
    original = run.original()
    if ORIGINAL in missing:
        yield ORIGINAL, Outcome({"method": ORIGINAL, **_cost(model_path(run.folder, ORIGINAL, run.seed, k))}, original)
    if RETRAIN in missing:
        network = run.trained(f"{RETRAIN}-{k}", case.retain)
        yield RETRAIN, Outcome({"method": RETRAIN, **_cost(model_path(run.folder, RETRAIN, run.seed, k))}, network)
    for entry in rows:
        network = copy.deepcopy(original)
        if k and (path := model_path(run.folder, entry.label, run.seed, k - 1)).exists():
            read_network(path, network)
        elif k:
            yield entry.label, Outcome({"method": entry.method, "diverged": "an earlier request"}, None)
            continue
        yield entry.label, _unlearn(run, entry, run.task(network, forget, case.retain), k)


def _unlearn(run: SeedRun, entry: Entry, task: ClassifierTask, k: int) -> Outcome:
    """Run a method and save its network, for the next request and for later measurements."""
    facts: Facts = {"method": entry.method, "preset": entry.preset}
    method: ClassifierMethod = entry.make()
    projected: list[bool] = []
    with Memory(run.device) as memory:
        clock = Clock(run.device)
        try:
            for step in method(task):
                projected.append(step.projected)
                run.show(Event(f"{entry.label}, seed {run.seed}", len(projected), 0, step))
        except Diverged as error:
            return Outcome({**facts, "diverged": str(error)}, None)
        cost = clock.read()
    facts |= {**cost, "peak_bytes": memory.peak, "steps": len(projected), "projected": sum(projected), "epochs": method.epochs}
    write_network(model_path(run.folder, entry.label, run.seed, k), task.network, facts)
    return Outcome(facts, task.network)


def _cost(path: Path) -> Facts:
    """The cost of training, from the network's file; nothing for a network of the user's."""
    return read_facts(path) if path.exists() else {}


def _delete_networks(folder: Path, seed: int, rows: Sequence[Entry]) -> None:
    """Unlearned networks are kept for the first seed only: they can be computed again, and are as large as the original."""
    for entry in rows:
        for path in (folder / "models").glob(model_path(folder, entry.label, seed, 0).name.replace(f"-0-{seed}", f"-*-{seed}")):
            path.unlink()
