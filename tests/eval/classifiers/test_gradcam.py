"""Grad-CAM: a map that is known by hand, a network left as it was, a sheet with a row a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from toys import copied, same

from erase.classifiers.datasets import Samples
from erase.classifiers.networks import build_network
from erase.errors import InputError
from eval.classifiers.gradcam import GAP, SIDE, Column, gradcam, sheet


def test_a_map_by_hand() -> None:
    """Two channels, a copy of the picture and its negative; class 0 sums the first, class 1 the second: the maps follow."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    network[3].weight.data = torch.eye(2)
    x = torch.zeros(2, 1, 4, 4)
    x[:, 0, 1, 2], x[:, 0, 3, 0] = 0.5, -0.25
    maps = gradcam(network, x, torch.tensor([0, 1]))
    wanted = torch.zeros(2, 4, 4)
    wanted[0, 1, 2] = wanted[1, 3, 0] = 1.0
    assert torch.allclose(maps, wanted)


def test_the_network_is_left_alone_also_with_frozen_weights() -> None:
    network = build_network("small", 3, 1, 8).requires_grad_(False)
    before = copied(network)
    maps = gradcam(network, torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert maps.shape == (4, 8, 8)
    assert network.training
    assert same(before, copied(network))
    assert all(weight.grad is None for weight in network.parameters())


def test_a_network_without_convolutions_has_no_map() -> None:
    with pytest.raises(InputError, match="Grad-CAM needs a convolution"):
        gradcam(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2), torch.tensor([0]))


def test_the_sheet_has_a_row_for_the_pictures_and_one_a_network(tmp_path: Path) -> None:
    samples = Samples(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.arange(4) % 3, tuple("abcd"))
    networks = {"original": build_network("small", 3, 3, 8), "retrain": build_network("small", 3, 3, 8, 1)}
    columns = [Column("forget", 0), Column("retain", 3)]
    sizes = []
    for count in (1, 2):
        sheet(tmp_path / "sheet.png", dict(list(networks.items())[:count]), samples, columns)
        with Image.open(tmp_path / "sheet.png") as image:
            sizes.append(image.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] - sizes[0][1] == SIDE + GAP
