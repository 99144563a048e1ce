"""The judge of scenes: what its maps mean, worked out by hand; and that the shipped weights see what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erase.demo import judge_path, pipeline_path
from erase.demo.scenes import world as scenes
from erase.demo.scenes.judge import APART, CELL, GRID, Found, SceneJudge, decode, exactly, judging_loss, load_scene_judge, targets
from erase.demo.scenes.world import COLOURS, SHAPES, Thing
from erase.errors import InputError
from eval.vision.detector import make_detector
from eval.vision.scene_objects import LABELS

SOME = list(scenes.scenes(300, seed=424242))  # of a seed that no training has seen


def maps(*middles: tuple[int, int, str, str, float]) -> torch.Tensor:
    """Logits of one picture with these peaks: row, column, shape, colour, logit."""
    made = torch.full((1, 1 + len(SHAPES) + len(COLOURS), GRID, GRID), -6.0)
    for row, column, shape, colour, heat in middles:
        made[0, 0, row, column] = heat
        made[0, 1 + SHAPES.index(shape), row, column] = 6.0
        made[0, 1 + len(SHAPES) + COLOURS.index(colour), row, column] = 6.0
    return made


def test_peaks_become_things_the_most_certain_first() -> None:
    [found] = decode(maps((3, 4, "star", "red", 1.0), (10, 12, "ring", "blue", 3.0)))
    assert [(one.shape, one.colour, one.x, one.y) for one in found] == [("ring", "blue", 50.0, 42.0), ("star", "red", 18.0, 14.0)]
    assert [one.score for one in found] == pytest.approx(torch.tensor([3.0, 1.0]).sigmoid().tolist())


def test_a_slope_is_no_peak_and_a_faint_one_no_thing() -> None:
    near, far = APART // 2, APART // 2 + 1
    assert len(decode(maps((8, 5, "star", "red", 3.0), (8, 5 + near, "ring", "blue", 2.0)))[0]) == 1
    assert len(decode(maps((8, 5, "star", "red", 3.0), (8, 5 + far, "ring", "blue", 2.0)))[0]) == 2
    assert decode(maps((8, 5, "star", "red", -1.0))) == [[]]
    assert decode(maps()) == [[]]


def test_what_training_asks_for_is_what_decoding_reads() -> None:
    heat, what = targets([scene.things for scene in SOME])
    perfect = torch.full((len(SOME), 1 + len(SHAPES) + len(COLOURS), GRID, GRID), -8.0)
    perfect[:, 0] = torch.logit(heat, 1e-4)
    for k, (start, members) in enumerate(((1, SHAPES), (1 + len(SHAPES), COLOURS))):
        for index in range(len(members)):
            perfect[:, start + index][what[:, k] == index] = 8.0
    assert all(exactly(found, scene.things) for found, scene in zip(decode(perfect), SOME, strict=True))
    assert judging_loss(perfect, heat, what) < 1 < judging_loss(torch.zeros_like(perfect), heat, what)


def test_exactly_these_things_and_no_others() -> None:
    things = (Thing("star", "red", 16, 32), Thing("ring", "blue", 48, 32))
    seen = [Found("ring", "blue", 46.0, 34.0, 0.9), Found("star", "red", 18.0, 30.0, 0.8)]
    assert exactly(seen, things)
    assert not exactly(seen[:1], things)
    assert not exactly([*seen, Found("star", "red", 32.0, 60.0, 0.5)], things)
    assert not exactly([seen[0], Found("star", "green", 18.0, 30.0, 0.8)], things)
    assert not exactly([seen[0], Found("star", "red", 28.0, 30.0, 0.8)], things)


def test_maps_have_a_cell_for_every_four_pixels() -> None:
    assert SceneJudge()(torch.zeros(2, 3, 64, 64)).shape == (2, 1 + len(SHAPES) + len(COLOURS), 64 // CELL, 64 // CELL)


# --- the shipped weights --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renders() -> torch.Tensor:
    return torch.from_numpy(np.stack([scenes.render(scene) for scene in SOME])).permute(0, 3, 1, 2).float() / 127.5 - 1


def right(pictures: torch.Tensor) -> float:
    """In how many percent of the pictures everything is seen, and nothing else."""
    found = load_scene_judge(judge_path("scenes")).look(pictures)
    return 100 * float(np.mean([exactly(seen, scene.things) for seen, scene in zip(found, SOME, strict=True)]))


def test_the_judge_sees_fresh_renders(renders: torch.Tensor) -> None:
    assert right(renders) >= 99


def test_the_judge_sees_what_the_autoencoder_makes_of_them(renders: torch.Tensor) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(pipeline_path("scenes") / "vae")
    with torch.no_grad():
        again = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in renders.split(50)])
    assert right(again) >= 97


def test_nothing_is_seen_where_nothing_is() -> None:
    empty = torch.stack([torch.full((3, 64, 64), shade) for shade in (-0.86, 0.94)])
    assert load_scene_judge(judge_path("scenes")).look(empty) == [[], []]


def test_the_detector_names_things_and_where_they_are() -> None:
    detector = make_detector("scenes")
    pictures = [Image.fromarray(scenes.render(scene)) for scene in SOME[:70]]
    found = detector(pictures)
    for detections, scene in zip(found, SOME[:70], strict=True):
        assert sorted(one.label for one in detections) == sorted(f"{thing.colour} {thing.shape}" for thing in scene.things)
    assert all(one.box is not None and one.box[2:] == (CELL, CELL) for detections in found for one in detections)
    large = [picture.resize((200, 200)) for picture in pictures[:10]]
    assert [[one.label for one in picture] for picture in detector(large)] == [[one.label for one in picture] for picture in found[:10]]
    assert detector.facts()["labels"] == LABELS
    assert detector([]) == []


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.safetensors"):
        make_detector("scenes", weights=tmp_path / "nowhere.safetensors")
