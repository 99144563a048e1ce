"""The training script starts again where it stopped, and never shows the concept that it is to leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from erase.demo.train import Plan, fit, pictures


def regression(folder: Path, stop_at: int | None = None) -> Tensor:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=generator)
        return (network(x) - x.sum(1, keepdim=True)).pow(2).mean()

    fit("line", network, loss, 12, 0.05, folder, seed=1, device="cpu", every=4)
    return network.weight.detach().clone()


def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = regression(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        regression(tmp_path / "stopped", stop_at=6)
    assert torch.equal(regression(tmp_path / "stopped"), whole)


def test_the_gold_standards_data_never_shows_the_concept(tmp_path: Path) -> None:
    drawn, scenes = pictures(Plan(pictures=500, without="star"), tmp_path)
    assert drawn.shape == (500, 3, 64, 64)
    assert {scene.shape for scene in scenes} == {"circle", "ring", "square", "diamond", "triangle", "cross", "heart"}
