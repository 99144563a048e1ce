"""The ImageNet detector names the class that torchvision's own network and transform give. Random weights, real network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from erase.concepts import load_concept
from erase.demo.shapes.world import render, scenes
from erase.errors import InputError
from erase.files import sha256, write_tensors
from erase.run import package_version
from eval.vision.detector import check_labels, make_detector, most_likely
from eval.vision.imagenet import Imagenet, distinct_labels
from eval.vision.weights import torchvision


@pytest.fixture(scope="module")
def network() -> Any:
    """Untrained, its last layer turned up so that pictures fall into different classes."""
    torch.manual_seed(0)
    net = torchvision().models.resnet50(weights=None).eval()
    nn.init.normal_(net.fc.weight, std=30)
    return net


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imagenet") / "mine.safetensors"
    write_tensors(path, network.state_dict())
    return path


def pictures() -> Sequence[Image.Image]:
    drawn = [Image.fromarray(render(scene)) for scene in scenes(5, seed=1)]
    return [*drawn[:3], drawn[3].resize((300, 260)), drawn[4].convert("L"), Image.new("RGB", (50, 400), "green")]


def test_the_most_likely_class_is_that_of_torchvision_s_own_pipeline(network: Any, weights: Path) -> None:
    chosen = torchvision().models.ResNet50_Weights.IMAGENET1K_V2
    with torch.no_grad():
        scores = torch.cat([network(chosen.transforms()(image.convert("RGB"))[None]).softmax(1) for image in pictures()])
    found = Imagenet(weights)(pictures())
    assert len({int(best) for best in scores.argmax(1)}) > 1
    assert [[d.label for d in picture] for picture in found] == [[chosen.meta["categories"][best]] for best in scores.argmax(1)]
    assert [picture[0].score for picture in found] == pytest.approx(scores.amax(1).tolist(), abs=1e-3)


def test_it_is_a_detector_like_any_other(weights: Path) -> None:
    detector = make_detector("imagenet", weights=weights)
    facts = detector.facts()
    described = {"name": "own-imagenet", "version": package_version("torchvision"), "sha256": sha256(weights)}
    assert facts["detector"] == described | {"network": "ResNet-50, own weights"}
    assert (facts["threshold"], facts["counted"]) == (None, "pictures")
    assert detector([]) == []
    found = detector(pictures())
    assert all(most_likely(found, facts["labels"])["object"])


def test_there_is_a_label_for_each_class_and_for_what_the_concepts_ask(weights: Path) -> None:
    detector = Imagenet(weights)
    assert len(detector.labels) == len(set(detector.labels)) == 1000
    church = load_concept("church")
    check_labels(detector, [*church.words, *church.vocabulary["object"]])
    with pytest.raises(InputError, match=r'no label "churches", did you mean "church"'):
        check_labels(detector, ["churches"])


def test_labels_that_classes_share_are_told_apart() -> None:
    assert distinct_labels(["crane", "tench", "crane"]) == ("crane 0", "tench", "crane 2")
    assert distinct_labels(["tench", "crane"]) == ("tench", "crane")
    with pytest.raises(ValueError, match="the same label"):
        distinct_labels(["crane", "crane", "crane 1"])


def test_published_weights_are_known_as_such(network: Any, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any.pth"
    torch.save(network.state_dict(), path)
    path = path.rename(tmp_path / f"resnet50-{sha256(path)[:8]}.pth")
    kind = type(torchvision().models.ResNet50_Weights.DEFAULT)
    assert kind.DEFAULT.url.endswith("/resnet50-11ad3fa6.pth")
    monkeypatch.setattr(kind, "url", f"file:///nowhere/{path.name}")
    published = Imagenet(path)
    assert published.facts()["detector"]["name"] == "imagenet"
    assert published.facts()["detector"]["network"] == "ResNet-50, IMAGENET1K_V2"
    assert published(pictures()) == Imagenet(weights)(pictures())


def test_without_weights_and_network_one_line_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision().models.ResNet50_Weights, "url", "file:///nowhere/resnet50-11ad3fa6.pth")
    with pytest.raises(InputError, match=r"resnet50-11ad3fa6\.pth is missing and cannot be downloaded .*--imagenet FILE"):
        Imagenet()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"fc.bias": torch.zeros(1000)})
    with pytest.raises(InputError, match=r"other\.safetensors does not have the weights of torchvision's ResNet-50 .*--imagenet FILE"):
        Imagenet(path)
