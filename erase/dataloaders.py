"""`unlearn`: removes the samples of one DataLoader from any classifier, with a second DataLoader of samples to retain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, default_collate

from erase.classifiers.task import ClassifierTask, LabelledSets, absent, by_row, classifier_task
from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS
from erase.methods.base import ClassifierMethod
from erase.methods.classifiers.released import dataset_of, values_at
from erase.methods.spec import Entry, entry
from erase.task import Batch, Step, generator
from erase.training.modes import evaluated

Pairs = Iterable[Any]
"""A DataLoader, or any iterable, of batches (x, y): x float (n, ...), y int64 (n,), one label per sample."""


@dataclass(frozen=True)
class LoadedSamples:
    """The samples of a loader: read from its data set when they are needed, or from a list in memory."""

    name: str
    rows: Sequence[int]
    dataset: Any
    collate: Callable[[list[Any]], Any]
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Batch:
        """x and y of these rows; randomness that the data set takes from torch depends on the seed and the rows alone."""
        chosen = [self.rows[row] for row in rows.tolist()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(self.seed, self.name, chosen).initial_seed())
            x, y = _pair(self.name, self.collate([self.dataset[row] for row in chosen]))
        return {"x": x, "y": y}


def unlearn(
    model: nn.Module,
    forget_loader: Pairs,
    retain_loader: Pairs,
    method: str | ClassifierMethod = "scissorhands",
    *,
    validation_loader: Pairs | None = None,
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    progress: Callable[[Step], None] | None = None,
) -> nn.Module:
    """A copy of `model` that has unlearned the samples of `forget_loader` and retains those of `retain_loader`.

    With `validation_loader`, samples that the model was not trained on, scissorhands forgets only as hard as there is something to
    forget, and until the model is as uncertain as it is about these. `method` is a name in CLASSIFIER_METHODS, with its default
    options, or with options as in a table's row, "scissorhands:preset=cifar10,fraction=0.1": a preset named after a data set then has
    the values of the share that is forgotten here. Or it is a method made by `make_method("scissorhands", "cifar10",
    CLASSIFIER_METHODS)`, whose presets have the values of 10 %. `fresh` builds an untrained model; only `retrain` needs it. `progress`
    is called after each step.

    Batches are as large as the retain loader's. Samplers are read once, for which samples there are; the order depends on `seed`
    alone. The work is done on the model's device. An iterable other than a DataLoader over a data set is read once and kept in memory.

    InputError: a loader without labels, an output that is not one score per class, an unknown method.
    """
    row: Entry | None = None
    if isinstance(method, str):
        row = entry(method, CLASSIFIER_METHODS, source="--method")
        chosen: ClassifierMethod = row.make()
    else:
        chosen = method
    forget, _ = read_loader("forget", forget_loader, seed)
    retain, batch = read_loader("retain", retain_loader, seed)
    held_out = None if validation_loader is None else read_loader("validation", validation_loader, seed)[0]
    unlearned = copy.deepcopy(model)
    flags = [(weight, weight.requires_grad) for weight in unlearned.parameters()]
    modes = [module.training for module in unlearned.modules()]
    sets = loader_sets(unlearned.train(), forget, retain, held_out)
    task = classifier_task(unlearned, sets, batch=batch, seed=seed, scope=chosen.scope, fresh=fresh)
    if row is not None and dataset_of(row.preset) is not None:
        chosen = _at_share(row, task)
    for step in chosen(task):
        if progress is not None:
            progress(step)
    for weight, flag in flags:
        weight.requires_grad_(flag)
    for module, mode in zip(unlearned.modules(), modes, strict=True):
        module.training = mode
    return unlearned


def _at_share(row: Entry, task: ClassifierTask) -> ClassifierMethod:
    """The method of a row, with its preset's values for the share that this task forgets, or for whole classes."""
    classes = bool(absent(task)[by_row(task, lambda batch: batch["y"])].all())
    values, _ = values_at(CLASSIFIER_METHODS[row.method], row.preset, task.forget_size / (task.forget_size + task.retain_size), classes)
    method: ClassifierMethod = replace(row, values={**values, **row.values}).make()
    return method


def loader_sets(model: nn.Module, forget: LoadedSamples, retain: LoadedSamples, held_out: LoadedSamples | None) -> LabelledSets:
    """These samples as the sets of a task; the model's output determines the number of classes."""
    for samples in (forget, retain, held_out):
        if samples is not None and not len(samples):
            raise InputError(f"the {samples.name} loader has no samples; expected at least one")
    x = forget.batch(torch.tensor([0]))["x"].to(next(model.parameters()).device)
    with evaluated(model), torch.no_grad():
        scores = model(x)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 1:
        output = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"{type(model).__name__} returns {output} for 1 sample; expected (1, classes), one score per class: wrap it")
    return LabelledSets(forget, retain, scores.shape[1], held_out)


def read_loader(name: str, loader: Pairs, seed: int) -> tuple[LoadedSamples, int]:
    """The samples of a loader, and its batch size."""
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset) and loader.batch_sampler is not None:
        # With a batch size, the batch sampler may drop the last batch; without one it is the user's own.
        groups = [list(loader.sampler)] if loader.batch_size else [list(group) for group in loader.batch_sampler]
        rows = sorted({int(row) for group in groups for row in group})
        return LoadedSamples(name, rows, loader.dataset, loader.collate_fn, seed), loader.batch_size or max(map(len, groups), default=1)
    pairs = [_pair(name, batch) for batch in loader]
    if not pairs:
        raise InputError(f"the {name} loader has no samples; expected at least one")
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return LoadedSamples(name, range(len(y)), list(zip(x, y, strict=True)), default_collate, seed), max(len(y) for _, y in pairs)


def _pair(name: str, batch: Any) -> tuple[Tensor, Tensor]:
    """A batch of a loader as (x, y); InputError if it is not one."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__ + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
        raise InputError(f"the {name} loader returns {kind}, without labels; expected batches (x, y) of two tensors")
    x, y = batch
    if y.ndim != 1 or len(y) != len(x) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        kind = f"{tuple(y.shape)} {str(y.dtype).removeprefix('torch.')}"
        raise InputError(f"the {name} loader returns labels {kind} for {len(x)} samples; expected ({len(x)},) int64, one class per sample")
    return x, y.long()
