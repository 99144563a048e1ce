"""A classifier and a labelled split -> a ClassifierTask: batches by number, the training loss, ascent on what is to be forgotten.

Knows a module that maps a batch to one score a class; knows no data set and no architecture. Batch norms: scoring runs in
eval mode and leaves their statistics alone. A pass over retain batches in training mode updates them, on purpose, because the
statistics of a repaired network are others. A pass over forget batches reads them and never writes them, so that nothing of
the forget set enters a buffer (`running_statistics`); only where wrong labels are taught do both sets share a pass (`mixed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from erase.errors import InputError
from erase.scope import open_scope
from erase.task import Batch, Batches, Loss, Task, generator
from erase.training.modes import evaluated

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(x, source of randomness) -> x, e.g. mirrored and shifted."""


class Samples(Protocol):
    """Labelled samples: `batch(rows)`, rows int64 (n,), gives "x" float (n, ...) and "y" int64 (n,)."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Batch: ...


@dataclass
class ClassifierTask(Task):
    """A Task whose batches have "x", "y" and "row", the place of each sample within its set.

    `epoch_forget` and `epoch_retain` are batches an epoch; batch numbers run on from epoch to epoch. `held_out`
    are batches that the network was not trained on, None where there are none. `fresh` builds an untrained network; only
    retraining needs it.
    """

    classes: int = 0
    forget_size: int = 0
    retain_size: int = 0
    epoch_forget: int = 1
    epoch_retain: int = 1
    epoch_held_out: int = 0
    held_out: Batches | None = None
    fresh: Callable[[], nn.Module] | None = None


def classifier_task(
    network: nn.Module,
    forget: Samples,
    retain: Samples,
    classes: int,
    *,
    batch: int = 64,
    seed: int = 0,
    scope: str = "full",
    held_out: Samples | None = None,
    fresh: Callable[[], nn.Module] | None = None,
    augment: Augment | None = None,
) -> ClassifierTask:
    """A Task from a network and two sets of samples; batch i and its augmentation depend on (seed, i) alone.

    `held_out` are samples that the network was not trained on, e.g. for validation.

    InputError: an empty set; a network whose output is not (n, `classes`); a label that is not below `classes`.
    """
    for name, samples in (("forget", forget), ("retain", retain)):
        if not len(samples):
            raise InputError(f"the {name} set is empty; expected at least one sample: choose another share, class or list to forget")
    weights = open_scope(network, scope)
    device = next(network.parameters()).device
    forget_batches, epoch_forget = _numbered(forget, batch, (seed, "forget"), device, augment)
    retain_batches, epoch_retain = _numbered(retain, batch, (seed, "retain"), device, augment)
    _check(network, forget_batches(0), classes)
    outside, epoch_held_out = _numbered(held_out, batch, (seed, "held out"), device, None) if held_out else (None, 0)
    return ClassifierTask(
        network=network,
        forget=forget_batches,
        retain=retain_batches,
        loss=cross_entropy,
        unlearn=ascent,
        weights=weights,
        seed=seed,
        classes=classes,
        forget_size=len(forget),
        retain_size=len(retain),
        epoch_forget=epoch_forget,
        epoch_retain=epoch_retain,
        epoch_held_out=epoch_held_out,
        held_out=outside,
        fresh=fresh,
    )


def cross_entropy(network: nn.Module, batch: Batch) -> Tensor:
    """The training loss."""
    return F.cross_entropy(network(batch["x"]), batch["y"])


def ascent(network: nn.Module, batch: Batch) -> Tensor:
    """The unlearning loss of Scissorhands (Eq. 3): the negated training loss, under the running statistics."""
    return -forgotten(cross_entropy)(network, batch)


def forgotten(loss: Loss) -> Loss:
    """A loss for forget batches: batch norms use their statistics and do not learn them."""

    def under_statistics(network: nn.Module, batch: Batch) -> Tensor:
        with running_statistics(network):
            return loss(network, batch)

    return under_statistics


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Within, norms that keep statistics use them instead of the batch's and leave them as they are; dropout goes on."""
    norms = [module for module in network.modules() if isinstance(module, _NormBase) and module.training and module.track_running_stats]
    for module in norms:
        module.eval()
    try:
        yield
    finally:
        for module in norms:
            module.train()


@contextmanager
def norm_momentum(network: nn.Module, momentum: float) -> Iterator[None]:
    """Within, norms that keep statistics learn them this fast; 1 is the last batch alone."""
    norms = [(module, module.momentum) for module in network.modules() if isinstance(module, _NormBase)]
    for module, _ in norms:
        module.momentum = momentum
    try:
        yield
    finally:
        for module, before in norms:
            module.momentum = before


def alongside(task: ClassifierTask, most: float = 1.0) -> Batches:
    """Forget batches in pieces, one for each retain batch, so that an epoch over the retain set passes once over the forget set.

    A piece is at least one sample. It is at most a whole batch, and about `most` of a retain batch: where there is more to
    forget, a pass takes longer.
    """
    least = task.forget_size * task.epoch_retain / (task.epoch_forget * task.retain_size * most)
    forget, pieces = task.forget, max(1, task.epoch_retain // task.epoch_forget, math.ceil(least - 1e-9) if most < 1 else 1)

    def piece(i: int) -> Batch:
        batch = forget(i // pieces)
        parts = torch.arange(len(batch["y"]), device=batch["y"].device).tensor_split(min(pieces, len(batch["y"])))
        rows = parts[i % pieces % len(parts)]
        return {name: tensor[rows] for name, tensor in batch.items()}

    return piece


def absent(task: ClassifierTask) -> Tensor:
    """Bool (classes,): which classes no retain sample has, so that a network that never saw the forget set does not know them."""
    seen = torch.cat([task.retain(i)["y"] for i in range(task.epoch_retain)])
    return torch.ones(task.classes, dtype=torch.bool, device=seen.device).index_fill(0, seen.unique(), False)


def by_row(task: ClassifierTask, label: Callable[[Batch], Tensor]) -> Tensor:
    """What `label` says of every forget sample, by its row: one pass over the forget set in eval mode."""
    found: Tensor | None = None
    with evaluated(task.network):
        for i in range(task.epoch_forget):
            batch = task.forget(i)
            said = label(batch).detach()
            if found is None:
                found = torch.zeros(task.forget_size, *said.shape[1:], dtype=said.dtype, device=said.device)
            found[batch["row"]] = said
    assert found is not None
    return found


def mixed(task: ClassifierTask, retain: Batch, forget: Batch) -> tuple[Tensor, Tensor]:
    """The mean losses on a retain and a forget batch, from one pass over both: batch norms see the mixture, as in training.

    What is taught must be seen as what it is mixed with; a forget batch of its own has statistics of its own.
    """
    scores = task.network(torch.cat([retain["x"], forget["x"]]))
    kept, taught = scores.split([len(retain["y"]), len(forget["y"])])
    return F.cross_entropy(kept, retain["y"]), F.cross_entropy(taught, forget["y"])


def wrong_labels(task: ClassifierTask) -> Tensor:
    """For every forget row an offset in 1 .. classes - 1: (y + offset) mod classes is random and never y."""
    draw = torch.randint(1, task.classes, (task.forget_size,), generator=generator(task.seed, "wrong labels"))
    return draw.to(next(iter(task.weights.values())).device)


def relabelled(task: ClassifierTask) -> Batches:
    """`alongside`, with labels that are random and wrong, the same for a sample whenever it comes."""
    offsets, forget = wrong_labels(task), alongside(task)

    def batch(i: int) -> Batch:
        found = forget(i)
        return {**found, "y": (found["y"] + offsets[found["row"]]) % task.classes}

    return batch


def _numbered(samples: Samples, batch: int, key: tuple[object, ...], device: torch.device, augment: Augment | None) -> tuple[Batches, int]:
    """Batches by number, and how many make an epoch; an epoch is split evenly, for batch norms cannot take a batch of one."""
    n = len(samples)
    parts = math.ceil(n / batch)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> tuple[Tensor, ...]:
        return torch.randperm(n, generator=generator(*key, "order", epoch)).tensor_split(parts)

    def make(i: int) -> Batch:
        epoch, part = divmod(i, parts)
        rows = order(epoch)[part]
        found = dict(samples.batch(rows))
        if augment is not None:
            found["x"] = augment(found["x"], generator(*key, "augment", i))
        return {name: tensor.to(device) for name, tensor in {**found, "row": rows}.items()}

    return make, parts


@torch.no_grad()
def _check(network: nn.Module, batch: Batch, classes: int) -> None:
    """InputError where network, labels and number of classes do not fit each other."""
    with evaluated(network):
        scores = network(batch["x"])
    name, n = type(network).__name__, len(batch["y"])
    if not isinstance(scores, Tensor) or scores.shape != (n, classes):
        given = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"{name} gives {given} for {n} samples; expected ({n}, {classes}), one score a class: give another network")
    low, high = int(batch["y"].min()), int(batch["y"].max())
    if low < 0 or high >= classes:
        raise InputError(f"a label is {low if low < 0 else high}; expected 0 to {classes - 1}, for {name} knows {classes} classes")
