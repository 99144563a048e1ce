"""The detectors of two embedded worlds, networks that name one label per domain: of shapes (shape, colour, style) and of emoji.

The only module that uses these judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from erase.demo import EMOJI, judge_path
from erase.demo.emoji import names
from erase.demo.emoji import world as emoji
from erase.demo.emoji.judge import load_judge as load_emoji_judge
from erase.demo.shapes.judge import load_judge
from erase.demo.shapes.world import DOMAINS, SIZE
from erase.errors import InputError
from erase.files import sha256
from erase.images import to_tensor
from erase.run import package_version
from eval.vision.detector import Detection

LABELS = {domain: list(members) for domain, members in DOMAINS.items()}
CHUNK = 64  # images in memory at a time


class Judge:
    """One Detection per domain, in the order of its labels: the most likely label, its score a softmax over the domain's labels.

    Images of another size than 64 pixels: the middle square, resized. `weights` replaces the shipped ones.
    """

    name = "judge"
    labels: Mapping[str, Sequence[str]] = LABELS

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = self.weights_file(weights)
        self._network = self.load(self.weights)

    @classmethod
    def weights_file(cls, weights: Path | None) -> Path:
        """The given weights, by default the shipped ones; InputError where they are missing."""
        return _present(weights or judge_path())

    @staticmethod
    def load(weights: Path) -> Callable[[Tensor], Mapping[str, Tensor]]:
        """The network: (n, 3, 64, 64) in [-1, 1] to domain -> (n, labels) logits."""
        return load_judge(weights)

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        detections: list[list[Detection]] = []
        for start in range(0, len(images), CHUNK):
            detections += self._look(torch.stack([to_tensor(image.convert("RGB"), SIZE) for image in images[start : start + CHUNK]]))
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol."""
        version = package_version("erase-concept")
        return {
            "detector": {"name": self.name, "version": version, "sha256": sha256(self.weights), "size": SIZE},
            "threshold": None,  # it always returns the most likely label
            "labels": {domain: list(labels) for domain, labels in self.labels.items()},
            "counted": "pictures",
        }

    @torch.no_grad()
    def _look(self, pixels: Tensor) -> list[list[Detection]]:
        """(n, 3, 64, 64) in [-1, 1] -> one list per image."""
        columns = []
        for domain, logits in self._network(pixels).items():
            best = logits.argmax(1)  # of the logits: in a softmax close ones become equal
            scores = logits.softmax(1).gather(1, best[:, None])[:, 0]
            columns.append([Detection(self.labels[domain][i], score) for i, score in zip(best.tolist(), scores.tolist(), strict=True)])
        return [list(picture) for picture in zip(*columns, strict=True)]


class EmojiJudge(Judge):
    """The detector of the world `emoji`: object, style and background, and the kind that the object belongs to.

    Labels are what English calls them ("beer mug", "Flat Fluent"). The kind is that of the object found, with the object's score.
    """

    name = "emoji"
    labels: Mapping[str, Sequence[str]] = {
        **names.DOMAINS,
        "background": list(emoji.BACKGROUNDS),
        "kind": list(dict.fromkeys(names.KIND_OF.values())),
    }

    @classmethod
    def weights_file(cls, weights: Path | None) -> Path:
        """The given weights, by default the shipped ones; InputError where they are missing."""
        return _present(weights or judge_path(EMOJI))

    @staticmethod
    def load(weights: Path) -> Callable[[Tensor], Mapping[str, Tensor]]:
        """The network: (n, 3, 64, 64) in [-1, 1] to domain -> (n, labels) logits."""
        return load_emoji_judge(weights)

    def _look(self, pixels: Tensor) -> list[list[Detection]]:
        """(n, 3, 64, 64) in [-1, 1] -> one list per image."""
        return [[*found, Detection(names.KIND_OF[found[0].label], found[0].score)] for found in super()._look(pixels)]


def facts(weights: Path | None = None) -> dict[str, Any]:
    """The detector's part of a protocol."""
    return Judge(weights).facts()


def _present(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"the judge's weights {path} are missing; install the package again")
    return path
