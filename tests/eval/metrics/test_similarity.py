"""Similarities of pictures agree with hand computations, and a picture has not moved from itself."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from erase.errors import InputError
from erase.files import sha256, write_tensors
from erase.run import package_version
from eval.metrics.similarity import Lpips, ssim, ssim_facts

ROOT = Path(__file__).resolve().parents[3]


def pictures(n: int, height: int, width: int, seed: int) -> Tensor:
    """Smooth blobs: unlike noise they have structure to keep or to lose."""
    random = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(random.normal(0, 1, (n, 3, height, width)), (0, 0, 3, 3))
    return torch.from_numpy(np.clip(128 + 500 * blobs, 0, 255).astype(np.uint8))


def changed(before: Tensor, seed: int = 1) -> Tensor:
    noise = np.random.default_rng(seed).normal(0, 12, before.shape)
    return torch.from_numpy(np.clip(before.numpy() * 0.9 + noise + 10, 0, 255).astype(np.uint8))


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of one picture by its formula in float64."""

    def local(values: np.ndarray) -> np.ndarray:
        return np.stack([ndimage.gaussian_filter(channel, 1.5, mode="mirror", radius=5) for channel in values])

    x, y, one, two = x.astype(float), y.astype(float), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = local(x), local(y)
    vx, vy, both = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    return float(((2 * mx * my + one) * (2 * both + two) / ((mx**2 + my**2 + one) * (vx + vy + two))).mean())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (11, 40), (96, 70)])
def test_ssim_is_its_formula(height: int, width: int) -> None:
    before = pictures(3, height, width, 0)
    after = changed(before)
    expected = [by_hand(x, y) for x, y in zip(before.numpy(), after.numpy(), strict=True)]
    assert max(expected) < 0.95
    assert ssim(before, after).tolist() == pytest.approx(expected, abs=2e-4)


def test_ssim_of_a_hand_case() -> None:
    """Even pictures have no structure: what is left is how alike two grey values are."""
    black, white = torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert ssim(black, white).item() == pytest.approx(0.01**2 / (1 + 0.01**2), rel=1e-3)


def test_identical_pictures_are_exactly_1() -> None:
    before = torch.cat([pictures(2, 64, 64, 2), torch.full((1, 3, 64, 64), 77, dtype=torch.uint8)])
    after = before.clone()
    after[1] = changed(before[1:2])[0]
    values = ssim(before, after)
    assert values.dtype == torch.float64
    assert values[[0, 2]].tolist() == [1.0, 1.0]
    assert values[1] < 1


def test_a_picture_counts_the_same_in_any_batch_and_from_either_side() -> None:
    before = pictures(5, 32, 48, 3)
    after = changed(before)
    whole = ssim(before, after)
    assert torch.equal(whole, torch.cat([ssim(before[:2], after[:2]), ssim(before[2:], after[2:])]))
    torch.testing.assert_close(ssim(after, before), whole, rtol=1e-6, atol=0)


def test_no_pictures_have_no_values() -> None:
    none = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    assert ssim(none, none).shape == (0,)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ((4, 3, 64, 64), (3, 3, 64, 64), "4 of 64 x 64 pixels and 3 of 64 x 64 pixels"),
        ((4, 3, 64, 64), (4, 3, 32, 64), "4 of 64 x 64 pixels and 4 of 64 x 32 pixels"),
        ((4, 3, 8, 64), (4, 3, 8, 64), "64 x 8 pixels are too small"),
    ],
)
def test_what_cannot_be_compared_is_named(before: tuple[int, ...], after: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ssim(torch.zeros(before, dtype=torch.uint8), torch.zeros(after, dtype=torch.uint8))


def test_only_whole_numbers_are_pictures() -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        ssim(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))


def test_facts_name_the_measure() -> None:
    facts = ssim_facts()
    assert facts["name"] == "ssim"
    assert facts["version"]


@pytest.fixture(scope="module")
def alexnet() -> Any:
    """The true architecture; no weights can be fetched here, so they are random."""
    from eval.vision.weights import torchvision

    torch.manual_seed(0)
    return torchvision().models.alexnet(weights=None).eval()


@pytest.fixture(scope="module")
def weights(alexnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.safetensors"
    write_tensors(path, alexnet.state_dict())
    return path


@torch.no_grad()
def distance(features: Any, lines: list[Tensor], x: Tensor, y: Tensor) -> float:
    """LPIPS of one pair by its definition; `lines` weigh the channels of the five layers."""
    shift, scale = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    one, two = (((picture.float() / 127.5 - 1) - shift) / scale for picture in (x, y))
    total = 0.0
    for index, layer in enumerate(features):
        one, two = layer(one[None])[0], layer(two[None])[0]
        if index in (1, 4, 7, 9, 11):
            a, b = (seen / (seen.square().sum(0) + 1e-8).sqrt() for seen in (one, two))
            total += float(((a - b).square() * lines[(1, 4, 7, 9, 11).index(index)].flatten()[:, None, None]).sum(0).mean())
    return total


def test_lpips_is_its_definition(alexnet: Any, weights: Path) -> None:
    measure, before = Lpips(weights), pictures(3, 64, 80, 4)
    after = changed(before)
    lines = [measure.net.get_parameter(f"lin{k}.model.1.weight") for k in range(5)]
    expected = [distance(alexnet.features, lines, x, y) for x, y in zip(before, after, strict=True)]
    assert min(expected) > 1e-4
    assert measure(before, after).tolist() == pytest.approx(expected, rel=1e-3)
    assert measure(before, before).tolist() == [0.0] * 3
    assert measure.facts()["sha256"] == sha256(weights)


def test_published_weights_are_opened_only_if_they_are_the_published_ones(
    alexnet: Any, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "any.pth"
    torch.save(alexnet.state_dict(), path)
    with pytest.raises(InputError, match=r"any\.pth is not torchvision's alexnet-owt-7be5be79\.pth"):
        Lpips(path)
    monkeypatch.setattr("eval.metrics.similarity.ALEXNET", f"alexnet-owt-{sha256(path)[:8]}.pth")
    before = pictures(1, 64, 64, 5)
    assert torch.equal(Lpips(path)(before, changed(before)), Lpips(weights)(before, changed(before)))


def test_without_weights_one_line_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"alexnet-owt-7be5be79\.pth.*--lpips FILE"):
        Lpips()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"features.0.weight": torch.zeros(64, 3, 11, 11)})
    with pytest.raises(InputError, match=r"no features\.0\.bias"):
        Lpips(path)
    path.write_bytes(b"half a file")
    with pytest.raises(InputError, match="is not a safetensors file"):
        Lpips(path)


def test_the_private_names_of_torchmetrics_are_those_of_a_pinned_minor_version() -> None:
    """Its public classes download weights themselves. Before raising the bound, run this file and test_inception with that version."""
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchmetrics.image.fid import NoTrainInceptionV3

    assert {"pretrained", "net", "pnet_rand"} <= inspect.signature(_LPIPS).parameters.keys()
    assert {"name", "features_list", "feature_extractor_weights_path"} <= inspect.signature(NoTrainInceptionV3).parameters.keys()
    bound = re.search(r'"torchmetrics>=1\.6,<1\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert bound is not None
    assert int(package_version("torchmetrics").split(".")[1]) < int(bound[1])
