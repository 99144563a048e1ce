"""A small classification problem that a network learns by heart: noisy points, a tenth of them to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from toys import CLASSES, points

from erase.classifiers.task import ClassifierTask, LabelledSets, classifier_task
from erase.methods import CLASSIFIER_METHODS, make_method
from erase.task import Batch, generator

INPUTS = 12


@dataclass(frozen=True)
class Rows:
    """Labelled samples in two tensors."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor | slice) -> Rows:
        return Rows(self.x[rows], self.y[rows])

    def batch(self, rows: Tensor) -> Batch:
        return {"x": self.x[rows], "y": self.y[rows]}


def samples(number: int = 0, size: int = 80, wrong: float = 0.25) -> Rows:
    """Points of all classes, drowned in noise, a share of the labels wrong: who knows them has learned them by heart."""
    drawn = points(tuple(range(CLASSES)), number, size)
    noise = torch.randn(size, INPUTS - 2, generator=generator("noise", number))
    y = drawn["y"].clone()
    y[: round(wrong * size)] = (y[: round(wrong * size)] + 1) % CLASSES
    return Rows(torch.cat([drawn["x"], noise], 1), y)


def split(size: int = 80) -> tuple[Rows, Rows]:
    """(forget, retain): every tenth point is to be forgotten."""
    rows, every = samples(size=size), torch.arange(size) % 10 == 0
    return rows[every], rows[~every]


def build(seed: int = 0, norm: bool = True) -> nn.Sequential:
    """A perceptron of INPUTS, 32, 32 and CLASSES units, with a batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        middle = nn.BatchNorm1d(32) if norm else nn.Identity()
        return nn.Sequential(nn.Linear(INPUTS, 32), middle, nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES))


@cache
def _original(norm: bool) -> dict[str, Tensor]:
    """The weights of a network that was trained on all points."""
    network = build(norm=norm)
    task = classifier_task(network, LabelledSets(None, samples(), CLASSES), batch=16, fresh=lambda: build(1, norm))
    for _ in make_method("retrain", table=CLASSIFIER_METHODS, epochs=60, learning_rate=0.1, weight_decay=0.0)(task):
        pass
    return network.state_dict()


def toy_task(norm: bool = True, batch: int = 16, seed: int = 0, scope: str = "full", **sets: object) -> ClassifierTask:
    """The original, in training mode, and the samples that it is to forget; `sets` are held_out and augment."""
    network = build(norm=norm)
    network.load_state_dict(_original(norm))
    task_sets = LabelledSets(*split(), CLASSES, **sets)
    return classifier_task(network.train(), task_sets, batch=batch, seed=seed, scope=scope, fresh=lambda: build(2, norm))


def whole(task: ClassifierTask, which: str) -> Batch:
    """All samples to forget or retain, or held out, in one batch."""
    batches = [getattr(task, which)(i) for i in range(getattr(task, f"epoch_{which}"))]
    return {name: torch.cat([b[name] for b in batches]) for name in batches[0]}


@torch.no_grad()
def right(task: ClassifierTask, which: str) -> float:
    """Share of these samples that the network, in eval mode, classifies as labelled."""
    batch, mode = whole(task, which), task.network.training
    share = float((task.network.eval()(batch["x"]).argmax(1) == batch["y"]).float().mean())
    task.network.train(mode)
    return share
