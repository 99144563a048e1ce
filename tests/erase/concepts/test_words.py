"""English in templates, and what a user hears of a word that nobody knows."""

from __future__ import annotations

import pytest

from erase.concepts import load_concept, naming
from erase.concepts.english import fill, hint, one_edit_apart, swap
from erase.errors import InputError


def said(text: str, model: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_concept(text, model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- templates ------------------------------------------------------------------------------------------------------


def test_an_article_follows_the_word_and_goes_where_it_takes_none() -> None:
    phrases = {"sun": "the sun", "sake": "sake"}
    assert [fill("a {x} here", {"x": word}, phrases) for word in ("cat", "owl", "sun", "sake")] == [
        "a cat here", "an owl here", "the sun here", "sake here",
    ]  # fmt: skip
    assert fill("{x} here", {"x": "sun"}, phrases) == "sun here"


def test_a_swapped_word_brings_its_article() -> None:
    names = naming(["cat"])
    assert swap("a cat and two cats", names, "owl", {}) == "an owl and two owl"
    assert swap("a cat", names, "sun", {"sun": "the sun"}) == "the sun"
    assert swap("a red cat", names, r"o\1l", {}) == r"a red o\1l"


def test_a_word_within_a_longer_name_is_not_found() -> None:
    names = naming(["star", "book"], ["shooting star", "star fruit", "books", "star", "moon"])
    assert [bool(names.search(text)) for text in ("a star", "two stars", "STAR, moon", "a book")] == [True] * 4
    assert not any(names.search(text) for text in ("a shooting star", "shooting stars", "a star fruit", "books", "started"))
    assert names.search("a shooting star and a star").start() == 22


# --- misspelt words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        *(("star", other, True) for other in ("strr", "satr", "sta", "starr", "stair", "tsar", "stra")),
        *(("star", other, False) for other in ("sitars", "tasr", "rats", "st", "stairs")),
    ],
)
def test_one_edit_is_a_letter_or_two_that_changed_places(a: str, b: str, near: bool) -> None:
    assert one_edit_apart(a, b) is one_edit_apart(b, a) is near


def test_a_hint_has_the_nearest_names_as_they_are_written() -> None:
    assert hint("clasic noto", ["Noto", "Classic Noto", "cat"]) == ', did you mean "Classic Noto"?'
    assert hint("beer mgu", ["beer", "beer mug"], 0.6, 2) == ', did you mean "beer mug" or "beer"?'
    assert hint("zzz", ["cat"]) == ""


SLIPS = {"strr": "star", "satr": "star", "gren": "green", "purpel": "purple", "hert": "heart"}


@pytest.mark.parametrize(("typed", "meant"), SLIPS.items())
def test_a_slip_in_a_name_of_the_demo_is_one_line(typed: str, meant: str) -> None:
    assert f'did you mean "{meant}"?' in said(typed)
    assert "name a --model" in said(typed)
    assert load_concept(typed, "some/model").words == (typed,)


@pytest.mark.parametrize("word", ["spring", "king", "crows", "Starr", "Stan", "Bluey", "glue", "bed", "garden gnome", "strr club"])
def test_a_word_of_its_own_is_free_text(word: str) -> None:
    assert load_concept(word).detector == "clip"


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("beer mgu", ['emoji does not know "beer mgu"', 'did you mean "beer mug"?', "erase-concept concepts --model emoji"]),
        ("twemojy style", ['did you mean "Twemoji"']),
        ("qqqq", ['does not know "qqqq"; `erase-concept concepts --model emoji` lists']),
        ("glass", ['"glass" may mean ', "glass of wine", "give one of these"]),
        ("vehicle", ["aircraft, boat, land vehicle; give one of these"]),
    ],
)
def test_a_world_of_many_names_says_the_nearest_or_where_they_are_listed(typed: str, parts: list[str]) -> None:
    line = said(typed, "emoji")
    assert [part for part in parts if part not in line] == [], line
    assert len(line) < 400


def test_a_small_world_lists_what_it_knows() -> None:
    assert said("dog", "demo").endswith("it knows " + ", ".join(_demo()))
    assert 'did you mean "triangle"?' in said("triangel", "scenes")


def _demo() -> list[str]:
    from erase.demo.worlds import KNOWN_MODELS

    return KNOWN_MODELS["demo"].concepts
