"""The emoji world: which things it has, which pairs are left out of training, where a glyph may lie."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from erase.demo.emoji import captions, world
from erase.demo.emoji.names import KIND_OF, NAME_OF


def test_it_has_hundreds_of_things_each_with_a_name_a_description_and_a_group_of_cldr() -> None:
    assert len(world.OBJECTS) >= 400
    for thing in world.OBJECTS.values():
        assert all((thing.phrase, thing.description, thing.emoji, thing.group))
        assert thing.subgroup in captions.KINDS
    assert {thing.group for thing in world.OBJECTS.values()} == {
        *("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"),
    }


def test_names_descriptions_and_keywords_call_up_one_thing_each() -> None:
    names = Counter(thing.name for thing in world.OBJECTS.values())
    words = Counter(word for thing in world.OBJECTS.values() for word in thing.keywords)
    assert max(names.values()) == 1
    assert max(words.values()) == 1
    assert len({thing.description for thing in world.OBJECTS.values()}) == len(world.OBJECTS)


def test_a_description_does_not_name_its_thing() -> None:
    small = {"a", "an", "the", "of", "with", "and", "on", "in"}
    for thing in world.OBJECTS.values():
        assert not set(thing.name.split()) - small & set(thing.description.replace(",", " ").split()), thing.slug


def test_the_things_of_a_broad_concept_are_in_the_world() -> None:
    assert all(slug in world.OBJECTS for members in world.BROAD.values() for slug in members)


def test_six_percent_of_the_pairs_are_left_out_of_training_and_at_most_one_of_an_object() -> None:
    unseen, every = world.held_out(), len(world.OBJECTS) * len(world.STYLES)
    assert 0.05 * every <= len(unseen) <= 0.08 * every
    assert max(Counter(slug for slug, _ in unseen).values()) == 1
    assert set(Counter(style for _, style in unseen)) == set(world.STYLES)
    assert set(world.pairs()).isdisjoint(unseen)
    assert set(world.pairs(unseen=True)) == set(unseen)


@pytest.mark.parametrize("without", ["cat", "twemoji"])
def test_a_world_without_a_concept_has_no_pair_of_it(without: str) -> None:
    assert world.domain_of(without)
    assert not any(without in pair for pair in world.pairs(without))


def test_scenes_depend_on_the_seed_alone_and_stay_inside_the_picture() -> None:
    scenes = list(world.scenes(200, 3))
    assert scenes == list(world.scenes(200, 3))
    assert scenes != list(world.scenes(200, 4))
    for scene in scenes:
        assert scene.size / 2 <= scene.x <= world.SIZE - scene.size / 2
        assert scene.size / 2 <= scene.y <= world.SIZE - scene.size / 2


def test_only_where_left_and_right_do_not_matter_is_a_thing_mirrored() -> None:
    mirrored = [scene for scene in world.scenes(2000, 1) if scene.mirrored]
    assert mirrored
    assert all(world.OBJECTS[scene.object].group in world.MIRRORED for scene in mirrored)


def test_a_users_word_finds_its_member_by_slug_name_or_style_name() -> None:
    assert world.slug_of("beer mug") == "beer-mug"
    assert world.slug_of("Slice of pizza") == "pizza"
    assert world.slug_of("Classic Noto") == world.slug_of("classic-noto") == "noto-v1"
    assert world.slug_of("a word that is none") is None


def test_a_random_scene_can_be_drawn_on_one_background() -> None:
    assert world.sample_scene(np.random.default_rng(0), [("cat", "noto")], "pink").background == "pink"


def test_every_object_is_of_one_kind_whose_name_is_no_object_s() -> None:
    assert set(KIND_OF) == {NAME_OF[slug] for slug in world.OBJECTS}
    assert [KIND_OF[name] for name in ("beer mug", "tiger", "violin")] == ["alcoholic drink", "feline", "musical instrument"]
    for broad, members in world.BROAD.items():
        assert len({KIND_OF[NAME_OF[slug]] for slug in members}) == 1, broad
    counted = sum(KIND_OF[NAME_OF[slug]] == "alcoholic drink" for slug in world.OBJECTS)
    assert counted == len(world.BROAD["alcohol"])
