"""`unlearn`: any classifier and two of the user's DataLoaders of (x, y) -> the unlearned classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, default_collate

from erase.classifiers.task import ClassifierTask, classifier_task, evaluated
from erase.errors import InputError
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.task import Batch, Step, generator

Pairs = Iterable[Any]
"""A DataLoader, or any iterable, of batches (x, y): x float, the first dimension counts samples; y int64, one label each."""


@dataclass(frozen=True)
class Loaded:
    """The samples behind a loader: fetched from its data set when they are needed, or held in two tensors."""

    name: str
    rows: Sequence[int]
    dataset: Any
    collate: Callable[[list[Any]], Any]
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Batch:
        """x and y of these rows; what the data set draws from torch depends on seed and rows alone."""
        chosen = [self.rows[row] for row in rows.tolist()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(self.seed, self.name, chosen).initial_seed())
            x, y = _pair(self.name, self.collate([self.dataset[row] for row in chosen]))
        return {"x": x, "y": y}


def unlearn(
    model: nn.Module,
    forget_loader: Pairs,
    retain_loader: Pairs,
    method: str = "scissorhands",
    preset: str = "balanced",
    *,
    validation_loader: Pairs | None = None,
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    progress: Callable[[Step], None] | None = None,
    **options: Any,
) -> nn.Module:
    """A copy of `model` that has unlearned what `forget_loader` gives and keeps to what `retain_loader` gives.

    `validation_loader` gives samples that the model was not trained on: scissorhands forgets until the model is as unsure as there.
    `method` is one of erase.methods.CLASSIFIER_METHODS, `options` are its fields; `fresh`, which retrain alone needs, builds
    an untrained model. Batches are as large as the retain loader's; samplers are asked once which samples there are, and
    order is by `seed`. Work goes on where the model is. An iterable that is no DataLoader over a data set is read once and
    kept in memory. InputError: a loader without labels, an output that is not one score a class, a wrong name or option.
    """
    chosen = make_method(method, preset, CLASSIFIER_METHODS, **options)
    forget, _ = read_loader("forget", forget_loader, seed)
    retain, batch = read_loader("retain", retain_loader, seed)
    held_out = None if validation_loader is None else read_loader("validation", validation_loader, seed)[0]
    work = copy.deepcopy(model)
    flags = [(weight, weight.requires_grad) for weight in work.parameters()]
    modes = [module.training for module in work.modules()]
    task = loader_task(work.train(), forget, retain, held_out, batch, seed, getattr(chosen, "scope", "full"), fresh)
    for step in chosen(task):
        if progress is not None:
            progress(step)
    for weight, flag in flags:
        weight.requires_grad_(flag)
    for module, mode in zip(work.modules(), modes, strict=True):
        module.training = mode
    return work


def loader_task(
    model: nn.Module,
    forget: Loaded,
    retain: Loaded,
    held_out: Loaded | None,
    batch: int,
    seed: int,
    scope: str,
    fresh: Callable[[], nn.Module] | None = None,
) -> ClassifierTask:
    """The Task of these samples; the model's output says how many classes there are."""
    for samples in (forget, retain, held_out):
        if samples is not None and not len(samples):
            raise InputError(f"the {samples.name} loader gives no samples; expected at least one")
    x = forget.batch(torch.tensor([0]))["x"].to(next(model.parameters()).device)
    with evaluated(model), torch.no_grad():
        scores = model(x)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 1:
        given = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"{type(model).__name__} gives {given} for 1 sample; expected (1, classes), one score a class: wrap the model")
    return classifier_task(model, forget, retain, scores.shape[1], batch=batch, seed=seed, scope=scope, held_out=held_out, fresh=fresh)


def read_loader(name: str, loader: Pairs, seed: int) -> tuple[Loaded, int]:
    """The samples of a loader, and how many it gives at a time."""
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset) and loader.batch_sampler is not None:
        # With a batch size, the batch sampler may drop the last batch; without one it is the user's own.
        groups = [list(loader.sampler)] if loader.batch_size else [list(group) for group in loader.batch_sampler]
        rows = sorted({int(row) for group in groups for row in group})
        return Loaded(name, rows, loader.dataset, loader.collate_fn, seed), loader.batch_size or max(map(len, groups), default=1)
    pairs = [_pair(name, batch) for batch in loader]
    if not pairs:
        raise InputError(f"the {name} loader gives no samples; expected at least one")
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Loaded(name, range(len(y)), list(zip(x, y, strict=True)), default_collate, seed), max(len(y) for _, y in pairs)


def _pair(name: str, batch: Any) -> tuple[Tensor, Tensor]:
    """(x, y) of what a loader gives, or InputError."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        given = type(batch).__name__ + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
        raise InputError(f"the {name} loader gives {given}, no labels; expected batches (x, y) of two tensors")
    x, y = batch
    if y.ndim != 1 or len(y) != len(x) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        kind = f"{tuple(y.shape)} {str(y.dtype).removeprefix('torch.')}"
        raise InputError(f"the {name} loader gives labels {kind} for {len(x)} samples; expected ({len(x)},) int64, a class each")
    return x, y.long()
