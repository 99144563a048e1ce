"""Every method on every seed: trains the original and the retrained networks, unlearns, hands each network on to be measured.

A line of results.jsonl for each method, seed and request; what has its line is not done again. Knows no metric: `measure` is
given.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.classifiers.datasets import Data, crop_and_mirror, load_data
from erase.classifiers.forget_sets import Case, make_case, requested
from erase.classifiers.networks import build_network
from erase.classifiers.saved_networks import read_facts, read_network, train, write_network
from erase.classifiers.task import ClassifierTask, classifier_task
from erase.diffusion import pick_device
from erase.errors import Diverged, InputError
from erase.files import sha256, write_tensors
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.methods.spec import Entry
from erase.pipeline.job import Event, Show
from erase.run import RUNS, Run, append_lines, disk_errors, next_run_folder, read_lines
from erase.training.meters import Clock, Memory
from eval.classifiers.options import Classify

ORIGINAL, RETRAIN = "original", "retrain"

Measure = Callable[[nn.Module, Case], Mapping[str, Any]]


@dataclass(frozen=True)
class Bench:
    """What one seed needs: the data on the device, and the options with every default filled in."""

    data: Data
    options: Mapping[str, Any]
    device: str
    folder: Path
    seed: int
    show: Show

    def fresh(self) -> nn.Module:
        """The untrained network of this seed."""
        data = self.data
        return build_network(self.options["network"], len(data.classes), data.channels, data.size, self.seed).to(self.device)

    def task(self, network: nn.Module, forget: Tensor, retain: Tensor) -> ClassifierTask:
        """What a method sees."""
        augment = crop_and_mirror if self.options["augment"] else None
        sets = (self.data.train[forget], self.data.train[retain])
        batch, classes = self.options["batch"], len(self.data.classes)
        more = {"batch": batch, "seed": self.seed, "fresh": self.fresh, "augment": augment, "held_out": self.data.validation}
        return classifier_task(network.train(), *sets, classes, **more)

    def trained(self, name: str, rows: Tensor) -> nn.Module:
        """The network trained from its beginning on these rows; kept under this name, and resumed where it was stopped."""
        path = self.folder / "models" / f"{name}-{self.seed}.safetensors"
        network = self.fresh()
        if not path.exists():
            task = self.task(network, rows[:1], rows)
            names = ("epochs", "learning_rate", "weight_decay")
            method = make_method(RETRAIN, table=CLASSIFIER_METHODS, **{name: self.options[name] for name in names})
            total = self.options["epochs"] * task.epoch_retain
            train(method, task, path, lambda step: self.show(Event(f"train {name}, seed {self.seed}", step, total)))
        read_network(path, network)
        return network

    def original(self) -> nn.Module:
        """The network that has learned everything: the user's, or trained here."""
        if self.options["original"] is None:
            return self.trained(ORIGINAL, torch.arange(len(self.data.train)))
        network = self.fresh()
        read_network(Path(self.options["original"]), network)
        return network


def unlearn_all(job: Classify, rows: Sequence[Entry], measure: Measure, show: Show | None = None) -> Path:
    """Do what is missing of the table and return its folder. `original` and `retrain` are rows of every table.

    With several requests a method goes on from its own network after the one before. A method that diverges has a line that
    says so, and the others go on. InputError: the user's mistakes, and a folder with a run of other options.
    """
    shown: Show = show or (lambda event: None)
    options = job.filled()
    folder = Path(job.output) if job.output else next_run_folder(RUNS, "classify", options["dataset"], options["on"])
    device = pick_device(job.device)
    data = load_data(options["dataset"], Path(options["data"]), options["train_samples"], options["size"])
    requested(data, job.forget, job.first_seed)
    with Run.open(folder, {"kind": "classify", **options, "device": device}, job.overwrite) as run:
        for seed in range(job.first_seed, job.first_seed + job.seeds):
            _seed(Bench(data.to(device), options, device, run.folder, seed, shown), job.forget, rows, measure)
            if seed != job.first_seed:
                _forget_models(run.folder, seed, rows)
    return folder


def results(folder: Path) -> list[dict[str, Any]]:
    """The lines so far: method, label, preset, values, seed, request, seconds, ... and the metrics."""
    return read_lines(folder / "results.jsonl")


def model_path(folder: Path, label: str, seed: int, request: int) -> Path:
    """Where the network of a row is kept."""
    safe = "".join(c if c.isalnum() or c in "._=-" else "_" for c in label)
    name = ORIGINAL if label == ORIGINAL else f"{safe}-{request}"
    return folder / "models" / f"{name}-{seed}.safetensors"


def networks(job: Classify, labels: Sequence[str], seed: int) -> tuple[Case, dict[str, nn.Module]]:
    """The case after the last request of a seed of a finished run, and those of its networks that are kept, by label."""
    options, folder = job.filled(), Path(job.output or "")
    device = pick_device(job.device)
    data = load_data(options["dataset"], Path(options["data"]), options["train_samples"], options["size"]).to(device)
    bench = Bench(data, options, device, folder, seed, lambda event: None)
    requests = requested(data, job.forget, seed)
    case = make_case(data, torch.cat(requests).sort().values, seed, options["batch"], bench.trained, options["on"])
    found: dict[str, nn.Module] = {}
    for label in labels:
        path = model_path(folder, label, seed, len(requests) - 1)
        if label == ORIGINAL:
            found[label] = bench.original().eval()
        elif path.exists():
            found[label] = bench.fresh().eval()
            read_network(path, found[label])
    return case, found


def export_model(job: Classify, label: str, out: Path, facts: Mapping[str, Any]) -> Path:
    """The network of a row and the first seed as safetensors, with how it was made in the metadata."""
    folder = Path(job.output or "")
    path = model_path(folder, label, job.first_seed, len(job.forget) - 1)
    if not path.exists():
        raise InputError(f"--export {label}: {folder} keeps no such network; expected a row of its table that did not diverge")
    own = job.filled()
    made = {**read_facts(path), **facts, "label": label, "seed": job.first_seed, "forget": list(job.forget), "classify": own}
    made |= {"source_sha256": sha256(original) if (original := model_path(folder, ORIGINAL, job.first_seed, 0)).exists() else None}
    with disk_errors(out):
        write_tensors(out, load_file(path), {"erase-concept": json.dumps(made, sort_keys=True)})
    return out


def _seed(bench: Bench, texts: Sequence[str], rows: Sequence[Entry], measure: Measure) -> None:
    """Every row of one seed, request by request."""
    done = {(line["label"], line["request"]): line for line in results(bench.folder) if line["seed"] == bench.seed}
    wanted = {ORIGINAL: {}, RETRAIN: {}, **{entry.label: vars(entry.make()) for entry in rows}}
    for (label, _), line in done.items():
        if label in wanted and line["values"] != json.loads(json.dumps(wanted[label])):
            raise InputError(f"{bench.folder} holds {label} with other options; give another --output, or --overwrite to start anew")
    requests = requested(bench.data, texts, bench.seed)
    for k, forget in enumerate(requests):
        missing = [label for label in wanted if (label, k) not in done]
        if not missing:
            continue
        case = make_case(
            bench.data, torch.cat(requests[: k + 1]).sort().values, bench.seed, bench.options["batch"], bench.trained, bench.options["on"]
        )
        for number, (label, made) in enumerate(_networks(bench, case, forget, k, missing, rows)):
            bench.show(Event(f"unlearn and measure, seed {bench.seed}", number, len(missing)))
            facts, network = made
            line = {"label": label, "values": wanted[label], "seed": bench.seed, "request": k, "forget": texts[k], **facts}
            line |= measure(network, case) if network is not None else {}
            with disk_errors(bench.folder):
                append_lines(bench.folder / "results.jsonl", [line], sync=True)
        bench.show(Event(f"unlearn and measure, seed {bench.seed}", len(missing), len(missing)))


Made = tuple[dict[str, Any], nn.Module | None]


def _networks(
    bench: Bench, case: Case, forget: Tensor, k: int, missing: Sequence[str], rows: Sequence[Entry]
) -> Iterator[tuple[str, Made]]:
    """The networks that are missing, and what making them took."""
    original = bench.original()
    if ORIGINAL in missing:
        yield ORIGINAL, ({"method": ORIGINAL, **_cost(model_path(bench.folder, ORIGINAL, bench.seed, k))}, original)
    if RETRAIN in missing:
        network = bench.trained(f"{RETRAIN}-{k}", case.retain)
        yield RETRAIN, ({"method": RETRAIN, **_cost(model_path(bench.folder, RETRAIN, bench.seed, k))}, network)
    for entry in rows:
        if entry.label not in missing:
            continue
        network = copy.deepcopy(original)
        if k and (path := model_path(bench.folder, entry.label, bench.seed, k - 1)).exists():
            read_network(path, network)
        elif k:
            yield entry.label, ({"method": entry.method, "diverged": "an earlier request"}, None)
            continue
        yield entry.label, _unlearn(bench, entry, bench.task(network, forget, case.retain), k)


def _unlearn(bench: Bench, entry: Entry, task: ClassifierTask, k: int) -> Made:
    """Run a method; its network is kept, for the next request and for what is measured later."""
    facts: dict[str, Any] = {"method": entry.method, "preset": entry.preset}
    method, steps = entry.make(), []
    with Memory(bench.device) as memory:
        clock = Clock(bench.device)
        try:
            for step in method(task):
                steps.append(step.projected)
                bench.show(Event(f"{entry.label}, seed {bench.seed}", len(steps), 0, step))
        except Diverged as error:
            return {**facts, "diverged": str(error)}, None
        cost = clock.read()
    facts |= {**cost, "peak_bytes": memory.peak, "steps": len(steps), "projected": sum(steps), "epochs": getattr(method, "epochs", None)}
    write_network(model_path(bench.folder, entry.label, bench.seed, k), task.network, facts)
    return facts, task.network


def _cost(path: Path) -> dict[str, Any]:
    """What training took, as its file says; nothing for a network of the user's."""
    return read_facts(path) if path.exists() else {}


def _forget_models(folder: Path, seed: int, rows: Sequence[Entry]) -> None:
    """Unlearned networks are kept for the first seed only: they can be made again, and are as large as the original."""
    for entry in rows:
        for path in (folder / "models").glob(model_path(folder, entry.label, seed, 0).name.replace(f"-0-{seed}", f"-*-{seed}")):
            path.unlink()
