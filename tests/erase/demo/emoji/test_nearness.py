"""How near the things of the emoji world are to a concept."""

from __future__ import annotations

from erase.demo.emoji import nearness, world
from erase.demo.emoji.names import NAME_OF


def test_the_nearest_of_an_object_are_its_kind_then_its_subgroup_and_group() -> None:
    rings = nearness.rings("object", "cat")
    assert [rings[name] for name in ("lion", "dog", "penguin", "hamburger")] == list(nearness.RINGS[:4])
    assert set(rings) == {NAME_OF[slug] for slug in world.OBJECTS} - {"cat"}


def test_the_members_of_a_kind_are_not_near_it() -> None:
    rings = nearness.rings("kind", "alcoholic drink")
    assert "beer mug" not in rings
    assert [rings[name] for name in ("glass of milk", "hamburger", "dog")] == ["same subgroup", "same group", "other groups"]
    assert "same kind" not in rings.values()


def test_a_style_is_near_what_the_same_designers_drew() -> None:
    rings = nearness.rings("style", "Fluent")
    assert rings == {
        name: "same designers" if name == "Flat Fluent" else "other designers" for name in world.STYLE_NAMES.values() if name != "Fluent"
    }
    assert set(nearness.rings("style", "Twemoji").values()) == {"other designers"}
