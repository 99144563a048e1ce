"""The sheet shows every picture whole, original above erased, and no text leaves its column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from erase.demo.shapes.world import render, sample_scene
from eval.rendering.image_grid import MARGIN, Column, Group, draw_comparison, save_comparison, scaled, wrapped

RED, BLUE = (255, 0, 0), (0, 0, 255)
LONG = "a picture of a purple checkered star in front of a background that is Donaudampfschifffahrtsgesellschaft grey " * 4


def plain(count: int, size: tuple[int, int], prompt: str = "a star") -> list[Column]:
    return [Column(prompt, Image.new("RGB", size, RED), Image.new("RGB", size, BLUE)) for _ in range(count)]


def places(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((np.asarray(sheet) == colour).all(axis=2))


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (96, 96), (512, 512), (640, 320)])
@pytest.mark.parametrize("prompt", ["a star", LONG, ""])
def test_every_picture_is_whole_and_originals_are_above(size: tuple[int, int], prompt: str) -> None:
    sheet = draw_comparison("title", "note", [Group("heading", "#12715b", plain(5, size, prompt))])
    shown = scaled(Image.new("RGB", size))
    (top, left), (below, left_too) = places(sheet, RED), places(sheet, BLUE)
    assert len(top) == len(below) == 5 * shown.width * shown.height  # nothing lies over a picture
    assert top.max() < below.min()
    assert set(left) == set(left_too)


@pytest.mark.parametrize("side", [8, 32, 64, 96, 100, 144, 200, 256, 512, 1024])
def test_pictures_are_of_a_readable_size(side: int) -> None:
    shown = scaled(Image.new("RGB", (side, side // 2)))
    assert 97 <= shown.width <= 216
    assert shown.width / shown.height == pytest.approx(2, rel=0.03)
    if side <= 96:
        assert shown.width % side == 0


def test_groups_are_marked_and_the_border_stays_empty() -> None:
    three, eight = (plain(count, (64, 64), LONG) for count in (3, 8))
    sheet = draw_comparison(LONG, LONG, [Group(LONG, "#b42318", three), Group("empty", "#a15c07", []), Group("keep", "#12715b", eight)])
    forget, keep = (places(sheet, colour)[0] for colour in ((0xB4, 0x23, 0x18), (0x12, 0x71, 0x5B)))
    assert len(forget)
    assert forget.max() < keep.min()
    assert not len(places(sheet, (0xA1, 0x5C, 0x07))[0])
    inner = np.asarray(sheet)[MARGIN - 2 : 2 - MARGIN, MARGIN - 2 : 2 - MARGIN]
    assert (np.asarray(sheet) != 255).sum() == (inner != 255).sum()


@pytest.mark.parametrize("width", [60, 128, 400])
def test_wrapped_text_fits_and_is_whole(width: int) -> None:
    font = ImageFont.load_default(13)
    lines = wrapped(LONG, font, width, 1000)
    assert max(font.getlength(line) for line in lines) <= width
    assert "".join(lines).replace(" ", "") == LONG.replace(" ", "")
    cut = wrapped(LONG, font, width, 2)
    assert len(cut) == 2
    assert cut[-1].endswith("...")
    assert font.getlength(cut[-1]) <= width


def test_a_sheet_of_renders_is_saved_whole_and_twice_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = [
        Column(f"a {shape}", *(Image.fromarray(render(sample_scene(rng, shape=name))) for name in (shape, "cross")))
        for shape in ("star", "ring", "heart")
    ]
    for name in ("one.png", "two.png"):
        save_comparison(tmp_path / "new" / name, '"star" erased', "small print", [Group("To forget", "#b42318", columns)])
    assert (tmp_path / "new" / "one.png").read_bytes() == (tmp_path / "new" / "two.png").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["one.png", "two.png"]
    with Image.open(tmp_path / "new" / "one.png") as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        assert sheet.width > 480
