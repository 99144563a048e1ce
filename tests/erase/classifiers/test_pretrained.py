"""Training that starts from weights: what is loaded, what is not, and how images are then normalised."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18
from toys import copied

from erase.classifiers.networks import build_network
from erase.classifiers.pretrained import normalise
from erase.errors import InputError


def test_the_normalisation_by_hand() -> None:
    """1 is white and -1 black: (1 - 0.485) / 0.229 and -0.485 / 0.229 in red."""
    (x,) = normalise(torch.nn.Identity(), (torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1),))
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    torch.testing.assert_close(x[1, :, 0, 0], torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))


def test_all_weights_but_the_head_are_those_of_the_file(tmp_path: Path) -> None:
    given = build_network("small", 9, 3, 8, seed=1)
    save_file(copied(given), tmp_path / "given.safetensors")
    network = build_network("small", 4, 3, 8, seed=2, weights=str(tmp_path / "given.safetensors"))
    plain = build_network("small", 4, 3, 8, seed=2)
    for name, value in network.state_dict().items():
        source = plain if name.startswith("head.") else given
        assert torch.equal(value, source.state_dict()[name]), name
    plain.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 8, 8) * 2 - 1
    expected = plain.eval()(*normalise(plain, (x,)))
    assert torch.equal(network.eval()(x), expected)
    assert torch.equal(copy.deepcopy(network)(x), expected)  # methods work on copies


def test_the_published_weights_are_those_in_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights under the name of torchvision's file, which is then not fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    cache = tmp_path / "hub" / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    cache.parent.mkdir(parents=True)
    random = resnet18(weights=None)
    torch.save(random.state_dict(), cache)
    network = build_network("resnet18", 5, 3, 96, weights="imagenet")
    assert torch.equal(network.conv1.weight, random.conv1.weight)
    assert network.fc.weight.shape == (5, 512)


@pytest.mark.parametrize(
    ("name", "channels", "weights", "words"),
    [
        ("small", 3, "imagenet", "imagenet are for resnet18, resnet34, resnet50, vgg16, not for small"),
        ("small", 3, "absent.safetensors", "absent.safetensors does not exist; expected imagenet or a .safetensors file"),
        ("small", 3, "torn.safetensors", "torn.safetensors is not a safetensors file"),
        ("small", 1, "given.safetensors", "does not fit --network small .layer1.0.weight.; expected weights of that network"),
        ("vit", 3, "given.safetensors", "does not fit --network vit"),
    ],
)
def test_weights_that_do_not_fit_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, channels: int, weights: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(copied(build_network("small", 9, 3, 8)), "given.safetensors")
    Path("torn.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=words) as error:
        build_network(name, 4, channels, 8, weights=weights)
    assert "\n" not in str(error.value)
