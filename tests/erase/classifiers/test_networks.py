"""Networks by name: the logits they should have, the seed that decides, and the user's own, checked before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import copied, same

from erase.classifiers.networks import build_network
from erase.errors import InputError


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("small", 1, 8), ("small", 3, 32), ("resnet18", 3, 32), ("resnet18", 1, 96), ("vit", 3, 32), ("vit", 1, 8), ("vgg16", 1, 32)],
)
def test_pictures_go_in_and_logits_come_out(name: str, channels: int, size: int) -> None:
    network = build_network(name, 7, channels, size)
    assert network.training
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_the_stem_for_small_pictures_keeps_them_whole() -> None:
    network = build_network("resnet18", 10, 3, 32)
    assert network.conv1.stride == (1, 1)
    assert sum(weight.numel() for weight in network.parameters()) == 11_173_962  # that of ResNet-18 for CIFAR-10


def test_the_seed_decides_the_weights_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(5)
    first = copied(build_network("small", 4, 1, 8, seed=1))
    drawn = torch.rand(1)
    torch.manual_seed(9)
    assert same(first, copied(build_network("small", 4, 1, 8, seed=1)))
    assert not same(first, copied(build_network("small", 4, 1, 8, seed=2)))
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


OWN = """
from torch import nn

def plain(classes, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(size * size, classes))

def wide(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes + 1))

def deep():
    return nn.Linear(7, 3)

def none():
    return 3

def broken(classes):
    raise RuntimeError("no weights here")
"""


def test_a_network_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    assert build_network(f"{tmp_path}/own.py:plain", 5, 1, 8)(torch.zeros(3, 1, 8, 8)).shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own.py:wide", r"returns \(1, 6\) for one image; expected \(1, 5\)"),
        ("own.py:deep", "does not accept images of 1 x 8 x 8"),
        ("own.py:none", "returned a int; expected a torch.nn.Module"),
        ("own.py:broken", "no weights here"),
        ("own.py:absent", "cannot be imported"),
        ("other.py:plain", "other.py does not exist"),
        ("no.such.module:plain", "cannot be imported"),
        ("resnet19", "--network 'resnet19' is unknown; expected small, resnet18"),
        ("vgg16", "needs images of at least 32 pixels"),
    ],
)
def test_a_network_that_does_not_fit_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words) as error:
        build_network(name, 5, 1, 8)
    assert "\n" not in str(error.value)
