"""The optimizers of our own trainings: Muon's step worked by hand, and a training that stops and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from erase.demo.training.loop import Course, fit
from erase.demo.training.optimizers import Optimizers

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv_in = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.inner(self.conv_in(x).relu()).mean((2, 3)))
        return out


def loss_of(network: nn.Module) -> torch.Tensor:
    value: torch.Tensor = network(torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)).pow(2).sum()
    return value


@needs_muon
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_first_step_of_muon_turns_every_direction_alike(layout: torch.memory_format) -> None:
    """The change is U V^T of the gradient, times rate and 0.2 sqrt(longer side); its iteration leaves singular values in 0.6 to 1.3."""
    network = Network().to(memory_format=layout)
    optimizers = Optimizers(dict(network.named_parameters()), 0.1, muon=True)
    assert set(optimizers.matrices) == {"inner.weight", "head.weight"}
    before = network.inner.weight.detach().clone()
    loss_of(network).backward()
    gradient = network.inner.weight.grad.flatten(1).double()
    optimizers.step(0.01)
    change = (before * (1 - 0.01 * 0.01) - network.inner.weight.detach()).flatten(1).double() / (0.01 * 0.2 * 36**0.5)
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    strong = values > 1e-3 * values[0]
    turned = (left.T @ change @ right.T).diagonal()[strong]
    assert strong.sum() > 1
    assert ((turned > 0.6) & (turned < 1.3)).all(), turned


def test_without_muon_it_is_adamw() -> None:
    ours, theirs = Network(), Network()
    optimizers = Optimizers(dict(ours.named_parameters()), 0.1)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.01)
    for _ in range(3):
        for network in (ours, theirs):
            network.zero_grad()
            loss_of(network).backward()
        optimizers.step(0.01)
        adam.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("muon", [False, pytest.param(True, marks=needs_muon)])
def test_a_training_that_stops_goes_on_with_the_same_bits(tmp_path: Path, muon: bool) -> None:
    def trained(folder: Path, *stops: int) -> Network:
        for stop in stops:
            network = Network().to(memory_format=torch.channels_last)

            def loss(step: int, generator: torch.Generator) -> torch.Tensor:
                if step == stop:  # noqa: B023
                    raise KeyboardInterrupt
                return network(torch.randn(2, 3, 8, 8, generator=generator)).pow(2).sum()  # noqa: B023

            try:
                fit(Course("small", 6, 0.05, every=2, muon=muon), network, loss, folder, 0, "cpu")
            except KeyboardInterrupt:
                continue
        return network

    whole, halves = trained(tmp_path / "a", 9), trained(tmp_path / "b", 3, 9)
    with safe_open(tmp_path / "b" / "checkpoints" / "small.safetensors", "pt") as file:
        assert file.metadata()["step"] == "6"
        assert ("momentum/inner.weight" in file.keys()) == muon  # noqa: SIM118
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters(), strict=True))
    assert not torch.equal(whole.head.weight, Network().head.weight)
