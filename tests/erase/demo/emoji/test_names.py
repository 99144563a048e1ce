"""What a user's words mean in the emoji world."""

from __future__ import annotations

import pytest

from erase.demo.emoji import names, vocabulary, world


def test_every_name_slug_and_keyword_means_its_own_object_or_style() -> None:
    for slug, name in names.NAME_OF.items():
        assert names.meanings(name) == names.meanings(slug) == names.meanings(name.upper()) == [name]
    other = {
        word: names.meanings(word) for thing in world.OBJECTS.values() for word in thing.keywords if names.meanings(word) != [thing.name]
    }
    assert other.pop("feline") == ["feline"]  # the kind
    assert len(other) < 12, other  # "clothes", "breads": the kind or the singular goes before a keyword


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a hot dog", "hot dog"),
        ("Cats", "cat"),
        ("the sun", "sun"),
        ("buses", "bus"),
        ("doggo", "dog"),
        ("in the style of twemoji", "Twemoji"),
        ("classic noto style", "Classic Noto"),
        ("weapons", "weapon"),
        ("alcohol", "alcoholic drink"),
        ("birds", "kind of bird"),
        ("vehicles on water", "boat"),
        ("desserts", "sweet"),
        ("musical instruments", "musical instrument"),
    ],
)
def test_articles_plurals_styles_and_kinds_are_understood(text: str, meant: str) -> None:
    assert names.meanings(text) == [meant]


def test_what_may_mean_several_things_means_all_of_them() -> None:
    assert names.meanings("vehicle") == ["aircraft", "boat", "land vehicle"]
    assert {"glass of wine", "glass of milk", "magnifying glass"} <= set(names.meanings("glass"))
    assert {"cocktail", "beer mug"} <= set(names.meanings("bar"))
    assert names.meanings("strr") == []


def test_a_kind_has_the_objects_that_the_judge_counts_as_it_and_no_other() -> None:
    for kind in names.kinds().values():
        assert {names.NAME_OF[member] for member in kind.members} == {name for name, of in names.KIND_OF.items() if of == kind.words[0]}
    assert set(names.kinds()["weapon"].members) == set(world.BROAD["weapon"])
    assert "anchor" not in names.kinds()["boat"].members


def test_names_are_said_as_captions_say_them() -> None:
    said = names.phrases()
    assert [said[name] for name in ("sun", "scissors", "alcohol")] == ["the sun", "scissors", "alcohol"]
    for thing in world.OBJECTS.values():
        assert said.get(thing.name, thing.phrase) == thing.phrase
        assert (thing.name in said) == (not thing.phrase.startswith(("a ", "an ")))


def test_every_spelling_means_something() -> None:
    assert [word for word in names.spellings() if not names.meanings(word)] == []


def test_a_keyword_of_several_objects_is_shared_and_that_of_one_is_its_own() -> None:
    named = {thing.emoji: {"slug": slug.replace("-", "_"), "group": ""} for slug, thing in world.OBJECTS.items()}
    of = {"dog": ["pet", "bark"], "cat": ["pet", "purr"], "bank": ["10"]}
    keywords = {world.OBJECTS[slug].emoji: words for slug, words in of.items()}
    assert vocabulary.shared_keywords(named, keywords) == {"pet": ["dog", "cat"]}
    made = vocabulary.vocabulary(named, [], keywords)
    assert [made[slug]["keywords"] for slug in ("dog", "cat", "bank")] == [["bark"], ["purr"], []]
