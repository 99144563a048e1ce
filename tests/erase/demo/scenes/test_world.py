"""The second embedded world is ground truth: what a scene says is what its picture shows, and what its captions say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from erase.demo.scenes import world as scenes
from erase.demo.scenes.world import COUNTS, DOMAINS, MARGIN, OPPOSITE, RELATIONS, Scene, Thing, relation
from erase.demo.shapes import world
from erase.demo.shapes.world import IMPLIED, NAMED, OMITTED, RGB, SIZE
from erase.demo.worlds import KNOWN_MODELS, known_model

SOME = list(scenes.scenes(400, seed=11))
STAR, RING = Thing("star", "red", 18, 32, 13), Thing("ring", "blue", 46, 30, 13)
PAIR = Scene((STAR, RING), "white")
EVERYTHING = {"shape": NAMED, "colour": NAMED}


def drawn(scene: Scene) -> np.ndarray:
    return scenes.render(scene).astype(float)


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_single_thing_is_drawn_as_the_demo_draws_it() -> None:
    """Another implementation: the demo's renderer, which evaluates the whole picture at once."""
    for shape, colour in product(scenes.SHAPES, scenes.COLOURS):
        for background in scenes.BACKGROUNDS:
            wanted = world.render(world.Scene(shape, colour, "solid", background, 30.3, 35.1, 16.2, shade=0.93))
            assert np.array_equal(scenes.render(Scene((Thing(shape, colour, 30.3, 35.1, 16.2, 0.93),), background)), wanted)


def test_two_things_are_each_drawn_as_if_alone() -> None:
    both = drawn(PAIR)
    for thing, columns in ((STAR, slice(0, 32)), (RING, slice(32, 64))):
        assert np.array_equal(both[:, columns], drawn(Scene((thing,), "white"))[:, columns])


def test_a_hand_made_picture_has_its_colours_where_its_things_are() -> None:
    picture = scenes.render(Scene((Thing("square", "red", 16, 48, 10), Thing("circle", "blue", 48, 16, 10)), "black", ((50.0, 50.0, 3.0),)))
    assert tuple(picture[48, 16]) == RGB["red"]
    assert tuple(picture[16, 48]) == RGB["blue"]
    assert tuple(picture[50, 50]) == (scenes.SPECK["black"],) * 3
    assert tuple(picture[4, 4]) == tuple(picture[32, 32]) == RGB["black"]


def test_things_and_specks_neither_touch_nor_leave_the_frame() -> None:
    for scene in SOME:
        for a, b in combinations(scene.things, 2):
            assert np.hypot(a.x - b.x, a.y - b.y) >= a.radius + b.radius + MARGIN - 1e-6
        for x, y, radius in scene.specks:
            assert all(np.hypot(x - t.x, y - t.y) > t.radius + radius for t in scene.things)
        for thing in scene.things:
            assert min(thing.x, thing.y, SIZE - thing.x, SIZE - thing.y) >= thing.radius + MARGIN - 1e-6


def test_scenes_follow_from_their_seed_and_are_of_every_kind() -> None:
    assert list(scenes.scenes(400, seed=11)) == SOME
    assert list(scenes.scenes(5, seed=12)) != SOME[:5]
    shares = {n: np.mean([len(scene.things) == n for scene in SOME]) for n in (1, 2, 3)}
    assert shares[1] == pytest.approx(0.2, abs=0.07)
    assert shares[3] == pytest.approx(0.125, abs=0.06)
    assert np.mean([bool(scene.specks) for scene in SOME]) == pytest.approx(0.25, abs=0.08)
    assert {relation(*scene.things) for scene in SOME if not scene.alike} == set(RELATIONS)
    for domain, members in DOMAINS.items():
        assert {getattr(thing, domain) for scene in SOME for thing in scene.things} == set(members)


@pytest.mark.parametrize("concept", ["star", "blue"])
def test_what_is_left_out_is_neither_shown_nor_said(concept: str) -> None:
    rng = np.random.default_rng(0)
    words = {concept, f"{concept}s", *(text.removeprefix("a ") for text in world.IMPLICIT[concept])}
    for scene in scenes.scenes(300, seed=1, without=concept):
        assert concept not in {name for thing in scene.things for name in (thing.shape, thing.colour)}
        text = scenes.caption(scene, rng)
        assert not any(re.search(rf"\b{re.escape(word)}\b", text) for word in words), text


# --- relations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "wanted"),
    [((10, 32), "left of"), ((60, 30), "right of"), ((31, 10), "above"), ((35, 60), "below"), ((20, 25), "left of"), ((40, 55), "below")],
)
def test_the_relation_is_along_the_longer_way(place: tuple[int, int], wanted: str) -> None:
    first, second = Thing("star", "red", *place), Thing("ring", "blue")
    assert relation(first, second) == wanted
    assert relation(second, first) == OPPOSITE[wanted]


def test_a_relation_is_plain_in_every_scene() -> None:
    """The second is never so far out of line that another relation would be nearly as true."""
    for first, second in (scene.things for scene in SOME if not scene.alike):
        along, across = sorted((abs(first.x - second.x), abs(first.y - second.y)), reverse=True)
        assert along > across + 10


def test_opposites_are_their_own_inverse() -> None:
    assert {OPPOSITE[OPPOSITE[name]] for name in RELATIONS} == set(RELATIONS)


# --- captions -------------------------------------------------------------------------------------------------------


def test_captions_word_by_word() -> None:
    green = Thing("square", "green", 20, 20, 11)
    assert scenes.phrase(PAIR, [EVERYTHING] * 2) == "a red star left of a blue ring"
    assert scenes.phrase(PAIR, [EVERYTHING] * 2, related=False, background=True) == "a red star and a blue ring on a white background"
    assert scenes.phrase(PAIR, [{"shape": NAMED, "colour": OMITTED}, {"shape": OMITTED, "colour": NAMED}], lead=1) == (
        "a picture of a star left of a blue shape"
    )
    assert scenes.phrase(replace(PAIR, things=(RING, STAR)), [EVERYTHING] * 2) == "a blue ring right of a red star"
    two = Scene((green, replace(green, x=44)), "black", ((50.0, 50.0, 3.0),))
    assert scenes.phrase(two, [EVERYTHING], clutter=True) == "two green squares on a cluttered background"
    assert scenes.phrase(two, [{"shape": NAMED}], background=True, clutter=True, lead=2) == (
        "a drawing of two squares on a cluttered black background"
    )
    assert scenes.phrase(Scene((STAR,), "white"), [{"shape": IMPLIED, "colour": NAMED}]) == "a red five-pointed shape"
    assert scenes.phrase(Scene((STAR,), "white"), [{"shape": NAMED, "colour": IMPLIED}], implicit=1) == "a star in the colour of fire"


def test_a_caption_says_nothing_that_the_scene_does_not_show() -> None:
    rng = np.random.default_rng(5)
    for scene in SOME:
        text = scenes.caption(scene, rng)
        said = set(re.findall(r"[a-z]+", text))
        for domain, members in DOMAINS.items():
            has = {getattr(thing, domain) for thing in scene.things}
            named = {member for member in members if member in said or f"{member}s" in said}
            assert named <= has, text
        count = next((number for word, number in COUNTS.items() if re.search(rf"\b{word} ", text)), None)
        assert count == (len(scene.things) if scene.alike and len(scene.things) > 1 else None), text
        if found := re.search("|".join(RELATIONS), text):
            first, second = scene.things
            name = scenes.name(first, EVERYTHING).removeprefix("a ")
            if name in text and scenes.name(second, EVERYTHING).removeprefix("a ") in text:
                assert found[0] == (relation(first, second) if text.index(name) < found.start() else relation(second, first)), text
        assert ("cluttered" not in said) or scene.specks
        assert not said & set(scenes.BACKGROUNDS) or scene.background in said


def test_every_word_is_in_the_vocabulary() -> None:
    rng = np.random.default_rng(6)
    known = set(scenes.words())
    assert known > set(world.words())
    for scene in SOME:
        assert set(scenes.caption(scene, rng).replace("-", " - ").split()) <= known


# --- which world ----------------------------------------------------------------------------------------------------


def test_a_model_is_known_by_its_name_or_its_vocabulary(tmp_path) -> None:
    assert known_model("demo") is KNOWN_MODELS["demo"]
    assert known_model("scenes") is KNOWN_MODELS["scenes"]
    assert known_model("CompVis/stable-diffusion-v1-4") is known_model(tmp_path) is None
    (tmp_path / "tokenizer").mkdir()
    for words, wanted in ((["checkered"], "demo"), (["checkered", "cluttered"], "scenes"), (["dog"], None)):
        (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps({f"{word}</w>": i for i, word in enumerate(words)}))
        assert known_model(tmp_path) is (KNOWN_MODELS[wanted] if wanted else None)
