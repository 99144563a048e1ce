"""The detector of the embedded world: shape, colour and style of each image. The only module that uses the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from erase.demo import judge_path
from erase.demo.shapes.judge import load_judge
from erase.demo.shapes.world import DOMAINS, SIZE
from erase.errors import InputError
from erase.files import sha256
from erase.images import open_picture, to_tensor
from erase.run import package_version
from eval.vision.detector import Detection

LABELS = {domain: list(members) for domain, members in DOMAINS.items()}
CHUNK = 64  # images in memory at a time


class Judge:
    """One Detection per domain, in the order of LABELS: the most likely label, its score a softmax over the domain's labels.

    Images of another size than 64 pixels: the middle square, resized. `weights` replaces the shipped ones.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights
        self._network = load_judge(_weights_file(weights))

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        detections: list[list[Detection]] = []
        for start in range(0, len(images), CHUNK):
            detections += self._look(torch.stack([to_tensor(image.convert("RGB"), SIZE) for image in images[start : start + CHUNK]]))
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol."""
        return facts(self.weights)

    @torch.no_grad()
    def _look(self, pixels: Tensor) -> list[list[Detection]]:
        """(n, 3, 64, 64) in [-1, 1] -> one list per image."""
        columns = []
        for domain, logits in self._network(pixels).items():
            best = logits.argmax(1)  # of the logits: in a softmax close ones become equal
            scores = logits.softmax(1).gather(1, best[:, None])[:, 0]
            columns.append([Detection(LABELS[domain][i], score) for i, score in zip(best.tolist(), scores.tolist(), strict=True)])
        return [list(picture) for picture in zip(*columns, strict=True)]


def judge_pictures(
    paths: Sequence[Path], weights: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[str]]:
    """Domain -> what each image shows; see `Judge`."""
    judge = Judge(weights)
    names: dict[str, list[str]] = {domain: [] for domain in LABELS}
    for start in range(0, len(paths), CHUNK):
        if progress is not None:
            progress(start, len(paths))
        for picture in judge([open_picture(path) for path in paths[start : start + CHUNK]]):
            for domain, detection in zip(LABELS, picture, strict=True):
                names[domain].append(detection.label)
    if progress is not None:
        progress(len(paths), len(paths))
    return names


def facts(weights: Path | None = None) -> dict[str, Any]:
    """The detector's part of a protocol."""
    path = _weights_file(weights)
    return {
        "detector": {"name": "judge", "version": package_version("erase-concept"), "sha256": sha256(path), "size": SIZE},
        "threshold": None,  # it always returns the most likely label
        "labels": LABELS,
        "counted": "pictures",
    }


def _weights_file(weights: Path | None) -> Path:
    path = weights or judge_path()
    if not path.is_file():
        raise InputError(f"the judge's weights {path} are missing; install the package again")
    return path
