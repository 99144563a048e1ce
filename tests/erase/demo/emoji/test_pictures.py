"""Glyphs on backgrounds: place, size, turn, mirror."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from erase.demo.emoji import data, pictures, world
from erase.demo.emoji.world import Scene
from erase.errors import InputError

SCENE = Scene("cat", "noto", "blue", size=48.0)


@pytest.fixture
def drawing() -> Tensor:
    """(1, 4, 96, 96): opaque, red on the left and green on the right."""
    glyph = torch.zeros(1, 4, 96, 96, dtype=torch.uint8)
    glyph[:, 3] = 255
    glyph[:, 0, :, :48] = 255
    glyph[:, 1, :, 48:] = 255
    return glyph


def pixels(drawing: Tensor, scene: Scene) -> Tensor:
    """(64, 64, 3) in 0 to 255."""
    return ((pictures.compose(drawing, [scene])[0] + 1) * 127.5).permute(1, 2, 0)


def test_around_the_glyph_is_the_background(drawing: Tensor) -> None:
    picture = pixels(drawing, SCENE)
    assert picture[2, 2].tolist() == pytest.approx(world.RGB["blue"], abs=1)
    assert picture[32, 20].tolist() == pytest.approx((255, 0, 0), abs=1)
    assert picture[32, 44].tolist() == pytest.approx((0, 255, 0), abs=1)


def test_a_mirrored_glyph_has_its_sides_changed(drawing: Tensor) -> None:
    mirrored = pixels(drawing, replace(SCENE, mirrored=True))
    assert torch.allclose(mirrored, pixels(drawing, SCENE).flip(1), atol=1)


@pytest.mark.parametrize("angle", [0.0, 7.0])
def test_the_glyph_lies_where_the_scene_says(drawing: Tensor, angle: float) -> None:
    picture = pixels(drawing, replace(SCENE, x=26.0, y=36.0, size=40.0, angle=angle))
    inside = (picture - torch.tensor(world.RGB["blue"])).abs().sum(-1) > 60
    rows, columns = (torch.nonzero(inside)[:, axis].float().mean().item() + 0.5 for axis in (0, 1))
    assert (columns, rows) == pytest.approx((26.0, 36.0), abs=0.6)
    assert inside.sum().item() == pytest.approx(40 * 40, rel=0.06)


def test_what_is_transparent_shows_the_background(drawing: Tensor) -> None:
    drawing[:, 3, :, :48] = 0
    assert pixels(drawing, SCENE)[32, 20].tolist() == pytest.approx(world.RGB["blue"], abs=1)


def test_the_whole_world_is_drawn_where_its_packages_are() -> None:
    try:
        data.load()
    except InputError as error:
        pytest.skip(str(error))
    batch = pictures.draw(list(world.scenes(8, 0)))
    assert batch.shape == (8, 3, 64, 64)
    assert pictures.render(next(world.scenes(1, 0))).shape == (64, 64, 3)
    assert batch.std() > 0.2
