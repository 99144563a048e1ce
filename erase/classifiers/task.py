"""Builds a ClassifierTask from a network and labelled samples: numbered batches, the training loss, ascent as the unlearning loss.

Works with any module that maps a batch to one score per class. Batch norms: scoring runs in eval mode and leaves their running
statistics alone. A pass over retain batches in training mode updates them, on purpose, because a repaired network has other
statistics. A pass over forget batches uses the running statistics and never updates them, so that nothing of the forget set enters
a buffer (`running_statistics`); only where wrong labels are taught do both sets share a pass (`mixed`). Published scripts have forget
batches in training mode too, and the presets named after papers do as they do (`forget_pass`).
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
"""(x, random generator) -> x, e.g. randomly cropped and mirrored."""


class Samples(Protocol):
    """Labelled samples: `batch(rows)`, rows int64 (n,), returns "x" float (n, ...) and "y" int64 (n,)."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Batch: ...


@dataclass(frozen=True)
class LabelledSets:
    """The samples of a task, the number of classes, and the augmentation of forget and retain batches.

    `forget` is None for plain training. `held_out` are samples that the network was not trained on, e.g. validation samples.
    """

    forget: Samples | None
    retain: Samples
    classes: int
    held_out: Samples | None = None
    augment: Augment | None = None


@dataclass
class ClassifierTask(Task):
    """A Task whose batches have "x", "y" and "row", the index of each sample within its set.

    `epoch_forget`, `epoch_retain` and `epoch_held_out` are batches per epoch, 0 where there is no such set; batch numbers continue
    from epoch to epoch. `fresh` builds an untrained network; only retraining needs it.
    """

    classes: int = 0
    forget_size: int = 0
    retain_size: int = 0
    epoch_forget: int = 0
    epoch_retain: int = 0
    epoch_held_out: int = 0
    held_out: Batches | None = None
    fresh: Callable[[], nn.Module] | None = None


def classifier_task(
    network: nn.Module,
    sets: LabelledSets,
    *,
    batch: int = 64,
    seed: int = 0,
    scope: str = "full",
    fresh: Callable[[], nn.Module] | None = None,
) -> ClassifierTask:
    """A Task from a network and its samples; batch i and its augmentation depend on (seed, i) alone.

    InputError: an empty set; a network whose output is not (n, classes); a label that is not below the number of classes.
    """
    for name, samples in (("forget", sets.forget), ("retain", sets.retain)):
        if samples is not None and not len(samples):
            raise InputError(f"the {name} set is empty; expected at least one sample: choose another share, class or list to forget")
    weights = open_scope(network, scope)
    device = next(network.parameters()).device
    forget_batches, epoch_forget = _numbered(sets.forget, batch, (seed, "forget"), device, sets.augment)
    retain_batches, epoch_retain = _numbered(sets.retain, batch, (seed, "retain"), device, sets.augment)
    held_out_batches, epoch_held_out = _numbered(sets.held_out, batch, (seed, "held out"), device, None)
    _check(network, (forget_batches if epoch_forget else retain_batches)(0), sets.classes)
    return ClassifierTask(
        network=network,
        forget=forget_batches,
        retain=retain_batches,
        loss=cross_entropy,
        unlearn=ascent,
        weights=weights,
        seed=seed,
        classes=sets.classes,
        forget_size=0 if sets.forget is None else len(sets.forget),
        retain_size=len(sets.retain),
        epoch_forget=epoch_forget,
        epoch_retain=epoch_retain,
        epoch_held_out=epoch_held_out,
        held_out=held_out_batches if epoch_held_out else None,
        fresh=fresh,
    )


def cross_entropy(network: nn.Module, batch: Batch) -> Tensor:
    """The training loss."""
    return F.cross_entropy(network(batch["x"]), batch["y"])


def ascent(network: nn.Module, batch: Batch) -> Tensor:
    """The unlearning loss of Scissorhands (Eq. 3): the negated training loss, with the running statistics of batch norms."""
    return -with_running_statistics(cross_entropy)(network, batch)


def with_running_statistics(loss: Loss) -> Loss:
    """A loss for forget batches: batch norms use their running statistics and do not update them."""

    def wrapped(network: nn.Module, batch: Batch) -> Tensor:
        with running_statistics(network):
            return loss(network, batch)

    return wrapped


def forget_pass(loss: Loss, norms: str) -> Loss:
    """A loss for forget batches: with "running" as `with_running_statistics` has it, with "batch" as in training."""
    return loss if norms == "batch" else with_running_statistics(loss)


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Within, batch norms use their running statistics instead of the batch's and do not update them; dropout stays on."""
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
    """Within, batch norms update their running statistics with this momentum; 1 is the last batch alone."""
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

    A piece has at least one sample, at most a whole batch, and about `most` times the size of a retain batch: with a larger forget
    set, a pass takes longer than an epoch.
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
    """Bool (classes,): classes without a retain sample, which a network that was never trained on the forget set does not know."""
    labels = torch.cat([task.retain(i)["y"] for i in range(task.epoch_retain)])
    return torch.ones(task.classes, dtype=torch.bool, device=labels.device).index_fill(0, labels.unique(), False)


def by_row(task: ClassifierTask, measure: Callable[[Batch], Tensor]) -> Tensor:
    """`measure` of every forget sample, indexed by row: one pass over the forget set in eval mode."""
    values: Tensor | None = None
    with evaluated(task.network):
        for i in range(task.epoch_forget):
            batch = task.forget(i)
            part = measure(batch).detach()
            if values is None:
                values = torch.zeros(task.forget_size, *part.shape[1:], dtype=part.dtype, device=part.device)
            values[batch["row"]] = part
    assert values is not None
    return values


def mixed(task: ClassifierTask, retain: Batch, forget: Batch) -> tuple[Tensor, Tensor]:
    """The mean losses on a retain and a forget batch, from one pass over both: batch norms see the mixture, as in training.

    A forget batch on its own would be normalised with its own statistics, and wrong labels learned so would not hold in the mixture.
    """
    scores = task.network(torch.cat([retain["x"], forget["x"]]))
    retain_scores, forget_scores = scores.split([len(retain["y"]), len(forget["y"])])
    return F.cross_entropy(retain_scores, retain["y"]), F.cross_entropy(forget_scores, forget["y"])


def wrong_labels(task: ClassifierTask) -> Tensor:
    """For every forget row an offset in 1 .. classes - 1: (y + offset) mod classes is random and never y. InputError with one class."""
    if task.classes < 2:
        raise InputError(f"wrong labels need at least two classes; the network has {task.classes}: choose a method without wrong labels")
    draw = torch.randint(1, task.classes, (task.forget_size,), generator=generator(task.seed, "wrong labels"))
    return draw.to(next(iter(task.weights.values())).device)


def redrawn_labels(task: ClassifierTask, epoch: int) -> Tensor:
    """For every forget row a label drawn from all classes for this epoch, the true one included: int64 (forget_size,)."""
    draw = torch.randint(0, task.classes, (task.forget_size,), generator=generator(task.seed, "redrawn labels", epoch))
    return draw.to(next(iter(task.weights.values())).device)


def relabelled(task: ClassifierTask, labels: str = "wrong") -> Batches:
    """The forget batches with random labels: "wrong", never the true one and the same for a sample each time; or "redrawn", drawn for
    each pass over the forget set from all classes.
    """
    offsets, forget = wrong_labels(task) if labels == "wrong" else None, task.forget

    @lru_cache(maxsize=2)
    def redrawn(epoch: int) -> Tensor:
        return redrawn_labels(task, epoch)

    def batch(i: int) -> Batch:
        b = forget(i)
        if offsets is None:
            return {**b, "y": redrawn(i // task.epoch_forget)[b["row"]]}
        return {**b, "y": (b["y"] + offsets[b["row"]]) % task.classes}

    return batch


def _numbered(
    samples: Samples | None, batch: int, key: tuple[object, ...], device: torch.device, augment: Augment | None
) -> tuple[Batches, int]:
    """Batches by number, and batches per epoch; an epoch is split evenly, for batch norms cannot take a batch of one."""
    if samples is None:
        return _no_samples, 0
    n, source = len(samples), samples
    parts = math.ceil(n / batch)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> tuple[Tensor, ...]:
        return torch.randperm(n, generator=generator(*key, "order", epoch)).tensor_split(parts)

    def make(i: int) -> Batch:
        epoch, part = divmod(i, parts)
        rows = order(epoch)[part]
        b = dict(source.batch(rows))
        if augment is not None:
            b["x"] = augment(b["x"], generator(*key, "augment", i))
        return {name: tensor.to(device) for name, tensor in {**b, "row": rows}.items()}

    return make, parts


def _no_samples(number: int) -> Batch:
    """The batches of a task without a forget set."""
    raise InputError("this task has no forget set: only training on the retain set is possible")


@torch.no_grad()
def _check(network: nn.Module, batch: Batch, classes: int) -> None:
    """InputError where network, labels and number of classes do not fit each other."""
    with evaluated(network):
        scores = network(batch["x"])
    name, n = type(network).__name__, len(batch["y"])
    if not isinstance(scores, Tensor) or scores.shape != (n, classes):
        output = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"{name} returns {output} for {n} samples; expected ({n}, {classes}), one score per class: give another network")
    low, high = int(batch["y"].min()), int(batch["y"].max())
    if low < 0 or high >= classes:
        raise InputError(f"a label is {low if low < 0 else high}; expected 0 to {classes - 1}, for {name} has {classes} classes")
