"""Whether an image shows the concept, according to the concept's own detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from erase.errors import InputError
from eval.measurement.measure import Tools
from eval.vision.detector import Detection, Detector, check_known
from eval.vision.scene_objects import lists_things, thing


@dataclass(frozen=True)
class Sight:
    """Looks for `label` of `domain`; where the detector does not know the domain, any detection counts."""

    detector: Detector
    domain: str
    label: str
    labels: Sequence[str]
    things: bool = False  # whether the detector lists things, "red star" each, of which any may be the concept

    def __call__(self, images: Sequence[Image.Image]) -> list[tuple[bool, str]]:
        """For each image whether it shows the concept, and the label with the highest score."""
        return [self._of(detections) for detections in self.detector([image.convert("RGB") for image in images])]

    def _of(self, detections: Sequence[Detection]) -> tuple[bool, str]:
        if self.things:
            parts = [getattr(thing(one), self.domain) for one in sorted(detections, key=lambda one: -one.score)]
            return self.label in parts, self.label if self.label in parts else next(iter(parts), "")
        counted = [one for one in detections if not self.labels or one.label in self.labels]
        best = max(counted, key=lambda one: one.score, default=Detection("", 0.0)).label
        return (best == self.label if self.labels else bool(counted)), best


def sight_of(concept: Mapping[str, Any], tools: Tools) -> Sight:
    """For a concept as options.json holds it; InputError where there is no detector, or it has no label for the concept."""
    if tools.detector is None:
        why = next(iter(tools.missing.values()), "none is named")
        raise InputError(f"attacks are judged by the concept's detector, and there is none: {why}; give one with --detector")
    domains = tools.detector.facts()["labels"]
    labels = domains.get(concept["domain"], [])
    if labels:
        check_known(tools.detector.facts()["detector"]["name"], [concept["words"][0]], labels)
    return Sight(tools.detector, concept["domain"], concept["words"][0], labels, lists_things(domains))
