"""Captions of the emoji world: what they name, what they leave out, and that the vocabulary covers them."""

from __future__ import annotations

import numpy as np
import pytest

from erase.demo.emoji import captions, world
from erase.demo.emoji.world import Scene

TIGER = Scene("tiger", "twemoji", "yellow")


def test_what_is_named_is_in_the_caption() -> None:
    text = captions.phrase(TIGER, {"object": "named", "style": "named", "background": "named"})
    assert text == "a tiger, in the style of Twemoji, on a yellow background"


@pytest.mark.parametrize("pick", range(0, 6000, 37))
def test_an_object_that_is_described_is_not_named(pick: int) -> None:
    text = captions.phrase(TIGER, {"object": "described"}, pick)
    assert "a striped orange big cat" in text
    assert "tiger" not in text


def test_what_is_omitted_is_not_spoken_of() -> None:
    text = captions.phrase(TIGER, {"object": "omitted", "style": "omitted", "background": "omitted"}, 7)
    assert not any(word in text for word in ("tiger", "Twemoji", "yellow"))


def test_a_kind_is_spoken_of_where_one_is_asked_for() -> None:
    assert captions.kinds("beer-mug")[:2] == ("an alcoholic drink", "alcohol")
    assert captions.object_phrase("tiger", "kind", 0) == "a feline"


def test_an_object_without_keywords_is_named_instead() -> None:
    bare = next(slug for slug, thing in world.OBJECTS.items() if not thing.keywords)
    assert captions.object_phrase(bare, "keyword") == world.OBJECTS[bare].phrase


def test_a_caption_depends_on_the_generator_alone() -> None:
    first, second = ([captions.caption(scene, np.random.default_rng(5)) for scene in world.scenes(20, 1)] for _ in range(2))
    assert first == second


def test_every_word_of_many_captions_is_in_the_vocabulary() -> None:
    rng, known = np.random.default_rng(0), set(captions.words())
    for scene in world.scenes(2000, 2):
        text = captions.caption(scene, rng).lower()
        for sign in "-',":
            text = text.replace(sign, f" {sign} ")
        assert set(text.split()) <= known, text
