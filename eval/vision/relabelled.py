"""A detector whose label for the concept is spelt otherwise ("vincent-van-gogh"), under the concept's own word ("Van Gogh")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from eval.vision.detector import Detection, Detector


@dataclass(frozen=True)
class Relabelled:
    """The same detections, with `label` called `word`."""

    detector: Detector
    label: str
    word: str

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return [
            [replace(one, label=self.word) if one.label == self.label else one for one in detections]
            for detections in self.detector(images)
        ]

    def facts(self) -> dict[str, Any]:
        """Those of the detector, with the word among its labels."""
        facts = self.detector.facts()
        labels = {domain: [self.word if label == self.label else label for label in own] for domain, own in facts["labels"].items()}
        return {**facts, "labels": labels}


def in_words_of(concept: Mapping[str, Any], detector: Detector) -> Detector:
    """The detector, its label for the concept (as options.json holds it) under the concept's word.

    The label is one of the concept's words but for case, hyphens and underscores. Without one the detector stays as it is.
    """
    word, labels = concept["words"][0], detector.facts()["labels"].get(concept["domain"], [])
    same = {_plain(each) for each in concept["words"]}
    label = next((label for label in labels if _plain(label) in same), None)
    return detector if label is None or word in labels else Relabelled(detector, label, word)


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.casefold()))
