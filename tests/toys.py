"""Tiny real networks for the tests: seeded, on the CPU, trained in a fraction of a second."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erase.task import Batch, Task, generator

CLASSES = 4
FORGET = 3


class Product(nn.Module):
    """y = b relu(a x): two weights, small enough to differentiate on paper."""

    def __init__(self, a: float = 2.0, b: float = 3.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[a]]))
        self.b = nn.Parameter(torch.tensor([[b]]))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.a).relu(), self.b)


def regression(network: nn.Module, batch: Batch) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(network(batch["x"]), batch["y"])


def cross_entropy(network: nn.Module, batch: Batch) -> Tensor:
    """The loss of the toy classifier."""
    return F.cross_entropy(network(batch["x"]), batch["y"])


def ascent(network: nn.Module, batch: Batch) -> Tensor:
    """The negated training loss: the paper's unlearning loss."""
    return -cross_entropy(network, batch)


def points(classes: tuple[int, ...], number: int, size: int = 32, seed: int = 0) -> Batch:
    """Batch `number` of noisy points around the corners of a square, one corner a class."""
    draw = generator(seed, "points", classes, number)
    labels = torch.tensor(classes)[torch.randint(len(classes), (size,), generator=draw)]
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return {"x": corners[labels] + 0.3 * torch.randn(size, 2, generator=draw), "y": labels}


def build_classifier(seed: int = 0) -> nn.Sequential:
    """A perceptron of 2, 16, 16 and CLASSES units."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES))


@cache
def _trained() -> dict[str, Tensor]:
    """The weights of a classifier that knows all classes."""
    network = build_classifier()
    update = torch.optim.Adam(network.parameters(), lr=0.02)
    for number in range(150):
        update.zero_grad()
        cross_entropy(network, points(tuple(range(CLASSES)), number, 64)).backward()
        update.step()
    return network.state_dict()


def classification_task() -> Task:
    """A trained classifier, its class FORGET to be forgotten by ascent, the other classes to be retained."""
    network = build_classifier()
    network.load_state_dict(_trained())
    return Task(
        network=network,
        forget=lambda number: points((FORGET,), number),
        retain=lambda number: points(tuple(c for c in range(CLASSES) if c != FORGET), number),
        loss=cross_entropy,
        unlearn=ascent,
        weights=dict(network.named_parameters()),
    )


@torch.no_grad()
def accuracy(network: nn.Module, batch: Batch) -> float:
    """Share of points named rightly."""
    return float((network(batch["x"]).argmax(1) == batch["y"]).float().mean())


def copied(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network, detached from it."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit for bit, names included."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
