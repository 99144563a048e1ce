"""Our Inception features are torchmetrics' own on the same pixels, whatever the pictures come with. Random weights, real network."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256, write_tensors
from eval.metrics.frechet import name_of
from eval.vision.inception import DIMENSION, Inception
from eval.vision.weights import torchvision

torchvision()

from torch_fidelity import feature_extractor_inceptionv3 as fidelity  # noqa: E402
from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: E402


class Untrained(fidelity.FeatureExtractorInceptionV3):  # type: ignore[misc]
    """The architecture before it loads anything."""

    def load_state_dict(self, *_: object, **__: object) -> None:
        torch.manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # so that something is left of a picture after 94 layers


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    state: dict[str, Tensor] = Untrained("untrained", ["2048"], nothing).state_dict()
    return state


@pytest.fixture(scope="module")
def safe(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "mine.safetensors"
    write_tensors(path, tensors)
    return path


@pytest.fixture(scope="module")
def pickled(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torch-fidelity publishes them, the hash in the name."""
    path = tmp_path_factory.mktemp("published") / "any.pth"
    torch.save(tensors, path)
    return path.rename(path.with_name(f"weights-inception-2015-12-05-{sha256(path)[:8]}.pth"))


@pytest.fixture(scope="module")
def inception(safe: Path) -> Inception:
    return Inception(safe)


def pictures() -> list[Image.Image]:
    """Smaller and larger than what the network sees, and not square."""
    drawn = [Image.fromarray(render(scene)) for scene in scenes(4, seed=0)]
    return [drawn[0], drawn[1].resize((320, 320)), drawn[2], drawn[3].resize((90, 50))]


def batch(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def test_the_features_are_those_of_torchmetrics(inception: Inception, pickled: Path) -> None:
    theirs = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(pickled))
    expected = torch.cat([theirs.inception(batch(image)) for image in pictures()])
    features = inception(pictures())
    assert (features.shape, features.dtype) == ((4, DIMENSION), torch.float32)
    assert torch.cdist(expected, expected)[~torch.eye(4, dtype=torch.bool)].min() > 0.05 * expected.norm(dim=1).mean()
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_picture_s_features_do_not_depend_on_its_company(inception: Inception) -> None:
    images = pictures()
    whole = inception(images)
    tolerance = 1e-4 * float(whole.abs().max())
    torch.testing.assert_close(inception(images[::-1]).flip(0), whole, rtol=0, atol=tolerance)
    torch.testing.assert_close(torch.cat([inception([image]) for image in images]), whole, rtol=0, atol=tolerance)
    assert torch.equal(inception(images), whole)
    assert inception([]).shape == (0, DIMENSION)


def test_pictures_need_not_be_rgb(inception: Inception) -> None:
    grey = pictures()[0].convert("L")
    assert torch.equal(inception([grey]), inception([grey.convert("RGB")]))


def test_only_the_published_weights_make_a_fid(inception: Inception, safe: Path, pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = inception.facts()
    assert (facts["name"], facts["sha256"], facts["dimension"]) == ("own-inception", sha256(safe), 2048)
    assert name_of(facts) == "frechet_own-inception_2048"
    monkeypatch.setattr(fidelity, "URL_INCEPTION_V3", f"file:///nowhere/{pickled.name}")
    published = Inception(pickled)
    assert name_of(published.facts()) == "fid"
    assert published.facts()["name"] == "inception"
    assert torch.equal(published(pictures()[:1]), inception(pictures()[:1]))


def test_without_weights_and_network_one_line_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fidelity.URL_INCEPTION_V3.endswith("/weights-inception-2015-12-05-6726825d.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fidelity, "URL_INCEPTION_V3", "file:///nowhere/weights-inception-2015-12-05-6726825d.pth")
    where = "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth is missing"
    with pytest.raises(InputError, match=rf"{where} and cannot be downloaded .*--inception FILE"):
        Inception()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"fc.bias": torch.zeros(1008)})
    with pytest.raises(
        InputError, match=r"other\.safetensors does not hold the weights of torch-fidelity's Inception .*--inception FILE"
    ) as caught:
        Inception(path)
    assert "\n" not in str(caught.value)
