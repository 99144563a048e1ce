"""The emoji model that is shipped: it draws what is asked for, its judge and CLIP see it, and a whole job runs on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from torch.nn.functional import normalize

from erase.demo import EMOJI, clip_path, judge_path, pipeline_path
from erase.demo.emoji import captions, world
from erase.demo.emoji.names import DOMAINS, NAME_OF
from eval.vision.judge import EmojiJudge

NAMED = {"object": captions.NAMED, "style": captions.NAMED, "background": captions.NAMED}
COUNT = 12


@pytest.fixture(scope="module")
def scenes() -> list[world.Scene]:
    return list(world.scenes(COUNT, seed=71))


@pytest.fixture(scope="module")
def drawn(scenes: Sequence[world.Scene], tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """A picture of each scene, by its name; nothing about them was chosen."""
    from erase.demo import GUIDANCE, STEPS
    from erase.diffusion import StableDiffusion
    from erase.images import make_images, open_picture

    prompts = [captions.phrase(scene, NAMED, i) for i, scene in enumerate(scenes)]
    model = StableDiffusion(pipeline_path(EMOJI))
    pictures = make_images(tmp_path_factory.mktemp("emoji"), prompts, 7, model.sampler(STEPS, GUIDANCE), COUNT)
    return [open_picture(picture.path) for picture in pictures]


def test_all_weights_take_at_most_30_mib_in_float16() -> None:
    count = 0
    for path in pipeline_path(EMOJI).parent.rglob("*.safetensors"):
        if "without" in path.parts:
            continue
        with safe_open(path, "pt") as file:
            count += sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert 12e6 < count < 15 * 2**20


def test_it_draws_object_style_and_background_as_they_are_asked_for(scenes: Sequence[world.Scene], drawn: Sequence[Image.Image]) -> None:
    seen = [[detection.label for detection in picture] for picture in EmojiJudge()(drawn)]
    right = [
        [label == wanted for label, wanted in zip(labels, (NAME_OF[s.object], NAME_OF[s.style], s.background), strict=False)]
        for labels, s in zip(seen, scenes, strict=True)
    ]
    objects, styles, backgrounds = (sum(column) for column in zip(*right, strict=True))
    assert objects >= COUNT - 2, seen  # 97 % on many pictures
    assert styles >= COUNT - 4, seen  # 87 %
    assert backgrounds >= COUNT - 1, seen


def test_its_clip_tells_the_objects_apart(scenes: Sequence[world.Scene], drawn: Sequence[Image.Image]) -> None:
    from eval.vision.clip import Clip

    clip = Clip(pretrained=clip_path(EMOJI))
    texts = clip.texts([f"a picture of {world.OBJECTS[scene.object].phrase}" for scene in scenes])
    nearest = (normalize(clip(drawn)) @ normalize(texts).T).argmax(1).tolist()
    assert sum(row == column for row, column in enumerate(nearest)) >= COUNT - 3


def test_a_whole_job_runs_on_it(tmp_path: Path) -> None:
    from ui.cli.main import main

    given = "--forget-count 8 --retain-count 12 --evaluate-count 4 --sampling-steps 4 --steps 3 --batch 4"
    assert main(["--model", EMOJI, "--concept", "beer mug", *given.split(), "--batch", "4", "--output", str(tmp_path / "mug")]) == 0
    report = json.loads((tmp_path / "mug" / "report.json").read_text())
    assert report["concept"] == "beer mug"
    assert report["protocol"]["detector"]["name"] == "emoji"
    assert {"ua", "ua_implicit", "ira", "cra"} <= set(report["after"])
    assert report["neighbours"]
    anchors = json.loads((tmp_path / "mug" / "anchor.json").read_text())["anchors"]
    assert anchors
    assert set(anchors) <= set(DOMAINS["object"])  # never a function word or a background
    assert judge_path(EMOJI).is_file()
