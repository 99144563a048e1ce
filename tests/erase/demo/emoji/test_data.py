"""Icons to glyphs: aliases, view boxes, what does not render, and a build that goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erase.demo.emoji import data, packages, world
from erase.errors import InputError

SQUARE = '<path fill="#ff0000" d="M4 4h8v8h-8z"/>'
ICONS: dict[str, Any] = {
    "width": 16,
    "height": 16,
    "icons": {
        "block": {"body": SQUARE},
        "corner": {"body": SQUARE, "left": 4, "top": 4, "width": 8, "height": 8},
        "blank": {"body": "<g/>"},
    },
    "aliases": {"brick": {"parent": "block"}, "tile": {"parent": "brick"}},
}


@pytest.fixture
def two_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world of two things in one style."""
    monkeypatch.setattr(world, "OBJECTS", {slug: world.Thing(slug, f"a {slug}", "red") for slug in ("block", "corner")})
    monkeypatch.setattr(world, "STYLES", ("twemoji",))


def test_an_alias_of_an_alias_is_its_icon() -> None:
    assert data.svg(ICONS, "tile") == data.svg(ICONS, "block")


def test_an_icon_may_have_a_view_box_of_its_own() -> None:
    assert 'viewBox="4 4 8 8"' in data.svg(ICONS, "corner")


def test_a_glyph_is_where_its_svg_has_it() -> None:
    pytest.importorskip("resvg_py", reason="resvg renders the glyphs; pip install resvg-py")
    pixels = data.rasterise(data.svg(ICONS, "block"), "block")
    assert pixels.shape == (96, 96, 4)
    assert pixels[48, 48].tolist() == [255, 0, 0, 255]
    assert pixels[10, 10, 3] == 0


@pytest.mark.parametrize(("document", "words"), [("<svg", "does not render"), (data.svg(ICONS, "blank"), "empty picture")])
def test_an_icon_that_does_not_render_ends_in_one_line(document: str, words: str) -> None:
    pytest.importorskip("resvg_py", reason="resvg renders the glyphs; pip install resvg-py")
    with pytest.raises(InputError, match=words) as error:
        data.rasterise(document, "beer-mug of noto")
    assert "beer-mug of noto" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_set_that_lacks_an_object_says_which() -> None:
    with pytest.raises(InputError, match="@iconify-json/twemoji has no icon 'monkey'"):
        data.render_style("twemoji", ICONS)


def test_pictures_that_were_not_built_say_by_which_command_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"python -m erase\.demo\.emoji\.data --output"):
        data.load(tmp_path)


def test_a_style_that_is_complete_is_not_rendered_again(two_things: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="resvg renders the glyphs; pip install resvg-py")
    monkeypatch.setattr(packages, "read", lambda *_: ICONS)
    data.build(tmp_path)
    glyphs = data.load(tmp_path)
    assert glyphs.shape == (2, 1, 96, 96, 4)
    assert np.array_equal(glyphs[1, 0, 48, 48], [255, 0, 0, 255])
    monkeypatch.setattr(data, "render_style", lambda *_: pytest.fail("rendered again"))
    data.build(tmp_path)


def test_other_objects_or_another_version_need_another_file(two_things: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = data.glyph_file("twemoji", tmp_path)
    monkeypatch.setattr(world, "OBJECTS", {"block": world.Thing("block", "a block", "red")})
    assert data.glyph_file("twemoji", tmp_path) != before


def test_a_users_mistake_ends_the_command_with_status_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    with pytest.raises(SystemExit) as end:
        data.main(["--output", str(tmp_path)])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
