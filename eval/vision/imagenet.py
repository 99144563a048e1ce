"""A detector of the 1,000 ImageNet classes: the most likely class of torchvision's ResNet-50."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from erase.errors import InputError
from erase.run import package_version
from eval.vision.detector import Detection
from eval.vision.weights import read_weights, torchvision

DOMAIN = "object"
OPTION = "--imagenet FILE"
CHUNK = 32  # images per forward pass


class Imagenet:
    """One Detection per image: the most likely class, its score a softmax over all of them.

    ResNet-50 with torchvision's newest weights (IMAGENET1K_V2): `weights`, as published or as .safetensors, else torch.hub's
    copy, else downloaded. Images of any size: the shorter side to 232 pixels, then the middle 224.
    """

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        library = torchvision().models
        chosen = library.ResNet50_Weights.DEFAULT
        read = read_weights(chosen.url, weights, OPTION)
        self.labels = distinct_labels(chosen.meta["categories"])
        self._network = _built(library.resnet50(), read.tensors, weights).to(device)
        self._prepare, self._device = chosen.transforms(), device
        self._facts = {
            "name": "imagenet" if read.published else "own-imagenet",
            "version": package_version("torchvision"),
            "sha256": read.sha256,
            "network": f"ResNet-50, {chosen.name if read.published else 'own weights'}",
        }

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        detections: list[list[Detection]] = []
        for start in range(0, len(images), CHUNK):
            pixels = torch.stack([self._prepare(image.convert("RGB")) for image in images[start : start + CHUNK]])
            detections += self._named(self._network(pixels.to(self._device)).float().cpu())
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol."""
        return {"detector": dict(self._facts), "threshold": None, "labels": {DOMAIN: list(self.labels)}, "counted": "pictures"}

    def _named(self, logits: Tensor) -> list[list[Detection]]:
        best = logits.argmax(1)  # of the logits: in a softmax close ones become equal
        scores = logits.softmax(1).gather(1, best[:, None])[:, 0]
        return [[Detection(self.labels[i], score)] for i, score in zip(best.tolist(), scores.tolist(), strict=True)]


def distinct_labels(categories: Sequence[str]) -> tuple[str, ...]:
    """Labels by class number; where classes share a name (ImageNet has two cranes) each gets its number appended."""
    shared = {name for name, count in Counter(categories).items() if count > 1}
    labels = tuple(f"{name} {i}" if name in shared else name for i, name in enumerate(categories))
    if len(set(labels)) < len(labels):
        raise ValueError("two classes have the same label, and a detection could be of either")
    return labels


def _built(network: nn.Module, tensors: dict[str, Tensor], weights: Path | None) -> nn.Module:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{weights} does not have the weights of torchvision's ResNet-50 ({reason}); give those as {OPTION}") from error
    return network.eval().requires_grad_(False)
