"""The judge as a detector says the same as of the files, and what the pictures show."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erase.demo import judge_path
from erase.demo.shapes.judge import load_judge
from erase.demo.shapes.world import DOMAINS, render, scenes
from erase.errors import InputError
from erase.images import load_pixels, open_picture
from eval.vision.detector import check_labels, most_likely
from eval.vision.judge import LABELS, Judge, facts

COUNT = 130  # two full chunks and a part of one


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Renders, one in three of another size or shape."""
    drawn = [Image.fromarray(render(scene)) for scene in scenes(COUNT, seed=3)]
    sizes = {0: (200, 200), 3: (100, 64), 6: (64, 96)}
    return [image.resize(sizes.get(i % 9, image.size)) for i, image in enumerate(drawn)]


@pytest.fixture(scope="module")
def paths(images: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(images):
        image.save(folder / f"{i:03d}.png")
    return sorted(folder.iterdir())


def test_pictures_in_memory_are_judged_as_their_files(images: list[Image.Image], paths: list[Path]) -> None:
    found, read = Judge()(images), Judge()([open_picture(path) for path in paths])
    assert [[d.label for d in picture] for picture in found] == [[d.label for d in picture] for picture in read]


def test_the_scores_are_the_network_s(images: list[Image.Image], paths: list[Path]) -> None:
    with torch.no_grad():
        logits = load_judge(judge_path())(load_pixels(paths, 64))
    wanted = torch.stack([logits[domain].softmax(1).amax(1) for domain in DOMAINS], 1)
    scores = torch.tensor([[d.score for d in picture] for picture in Judge()(images)])
    torch.testing.assert_close(scores, wanted, rtol=0, atol=1e-5)
    assert ((scores > 1 / 8) & (scores <= 1)).all()


def test_it_sees_what_is_drawn() -> None:
    drawn = list(scenes(COUNT, seed=4))
    found = most_likely(Judge()([Image.fromarray(render(scene)) for scene in drawn]), LABELS)
    for domain, names in found.items():
        assert np.mean([name == scene.attribute(domain) for name, scene in zip(names, drawn, strict=True)]) > 0.95


def test_no_pictures_are_no_lists() -> None:
    assert Judge()([]) == []


def test_it_says_what_it_is() -> None:
    assert Judge().facts() == facts()
    labels = list(chain(*LABELS.values()))
    assert len(set(labels)) == len(labels)  # a label belongs to one domain
    check_labels(Judge(), labels)
    with pytest.raises(InputError, match='no label "strar", did you mean "star"'):
        check_labels(Judge(), ["circle", "strar"])


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.safetensors"):
        Judge(tmp_path / "nowhere.safetensors")
