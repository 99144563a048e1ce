"""The detector of the embedded world `scenes`: every thing in an image, and where. The only module that uses its judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from erase.demo import judge_path
from erase.demo.scenes.judge import CELL, THRESHOLD, load_scene_judge
from erase.demo.shapes.world import SIZE
from erase.errors import InputError
from erase.files import sha256
from erase.images import to_tensor
from erase.run import package_version
from eval.vision.detector import Detection
from eval.vision.scene_objects import LABELS

CHUNK = 64  # images in memory at a time


class SceneJudge:
    """One Detection per thing: "red star", its score, and the cell of its middle as the box; the most certain first.

    Images of another size than 64 pixels: the middle square, resized. `weights` replaces the shipped ones.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights or judge_path("scenes")
        if not self.weights.is_file():
            raise InputError(f"the judge's weights {self.weights} are missing; install the package again")
        self._network = load_scene_judge(self.weights)

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        detections: list[list[Detection]] = []
        for start in range(0, len(images), CHUNK):
            pixels = torch.stack([to_tensor(image.convert("RGB"), SIZE) for image in images[start : start + CHUNK]])
            for things in self._network.look(pixels):
                boxes = [(one.x - CELL / 2, one.y - CELL / 2, float(CELL), float(CELL)) for one in things]
                detections.append([Detection(f"{t.colour} {t.shape}", t.score, box) for t, box in zip(things, boxes, strict=True)])
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol."""
        return {
            "detector": {"name": "scenes", "version": package_version("erase-concept"), "sha256": sha256(self.weights), "size": SIZE},
            "threshold": THRESHOLD,
            "labels": LABELS,
            "counted": "pictures",
        }
