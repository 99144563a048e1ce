"""A detector's own spelling of the concept is taken for the concept's word, and nothing else is renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from erase.concepts import load_concept
from eval.measurement.tools import tools_for
from eval.options import ToolOptions
from eval.protocols import load_protocol
from eval.vision.detector import Detection
from eval.vision.relabelled import in_words_of

VAN_GOGH = asdict(load_concept("van-gogh"))
IMAGE = Image.new("RGB", (8, 8))


class Painters:
    """Sees the first of its labels in every image."""

    def __init__(self, *labels: str) -> None:
        self.labels = labels

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return [[Detection(label, 0.9) for label in self.labels] for _ in images]

    def facts(self) -> dict[str, Any]:
        return {"detector": {"name": "painters"}, "labels": {"artist": list(self.labels)}}


@pytest.mark.parametrize("label", ["vincent-van-gogh", "van_gogh", "Vincent Van Gogh"])
def test_the_label_that_means_the_concept_gets_its_word(label: str) -> None:
    detector = in_words_of(VAN_GOGH, Painters(label, "claude-monet"))
    assert [one.label for one in detector([IMAGE])[0]] == ["Van Gogh", "claude-monet"]
    assert detector.facts() == {"detector": {"name": "painters"}, "labels": {"artist": ["Van Gogh", "claude-monet"]}}


@pytest.mark.parametrize("labels", [("Van Gogh", "vincent-van-gogh"), ("claude-monet",), ("theo-van-gogh",)])
def test_other_detectors_stay_as_they_are(labels: tuple[str, ...]) -> None:
    detector = Painters(*labels)
    assert in_words_of(VAN_GOGH, detector) is detector


def test_the_judge_of_unlearndiffatk_is_one(tmp_path: Path) -> None:
    own = tmp_path / "judge.py"
    labels = 'artists.labels = {"artist": ["vincent-van-gogh", "monet"]}'
    own.write_text(f'def artists(images):\n    return [[("vincent-van-gogh", 0.5)] for _ in images]\n\n\n{labels}\n')
    protocol = load_protocol("unlearndiffatk-van-gogh")
    tools = tools_for(VAN_GOGH, "CompVis/stable-diffusion-v1-4", protocol, ToolOptions(detector=f"{own}:artists"))
    assert tools.detector is not None
    assert [one.label for one in tools.detector([IMAGE])[0]] == ["Van Gogh"]
    assert tools.facts()["labels"] == {"artist": ["Van Gogh", "monet"]}
