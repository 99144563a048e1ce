"""Concept files of the emoji world: they are what the world makes of them, and their prompts are captions that it can say."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from erase.concepts import Concept, list_concepts, load_concept, names_of, prompts, prompts_folder
from erase.demo.emoji import captions, concepts, names, world
from erase.demo.emoji.world import Scene

HERE = prompts_folder() / "emoji"
SHIPPED = list_concepts("emoji")
UNSEEN = [load_concept(word, "emoji") for word in concepts.UNSEEN]
every = pytest.mark.parametrize("concept", [*SHIPPED, *UNSEEN], ids=lambda concept: concept.name)
TRAINING, EVALUATION = ("forget", "retain"), ("evaluate", "implicit", "evaluate-retain")


def test_the_files_are_what_the_world_makes_of_them(tmp_path: Path) -> None:
    concepts.write_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in HERE.iterdir()}
    for path in tmp_path.iterdir():
        assert (HERE / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_eight_objects_three_styles_and_three_kinds_are_shipped_and_twelve_others_kept_for_the_bench() -> None:
    assert Counter(concept.domain for concept in SHIPPED) == {"object": 8, "style": 3, "kind": 3}
    assert Counter(concept.domain for concept in UNSEEN) == {"object": 6, "style": 3, "kind": 3}
    assert not {concept.name for concept in SHIPPED} & {concept.name for concept in UNSEEN}
    assert all(concept.anchors for concept in SHIPPED)
    assert not any(concept.anchors for concept in UNSEEN)  # nobody chose for them: the search does
    listed = (HERE / "unseen.txt").read_text(encoding="utf-8").splitlines()
    assert listed[1:] == list(concepts.UNSEEN)


@every
def test_evaluation_is_held_out_by_its_openings(concept: Concept) -> None:
    held_out = re.compile(r"(a picture|a drawing|an icon) of ")
    for role in (*TRAINING, *EVALUATION):
        texts = [prompt.text for prompt in prompts(concept, role, 300)]
        assert texts
        assert {bool(held_out.match(text)) for text in texts} == {role in EVALUATION}
    assert not any(held_out.match(anchor) for prompt in prompts(concept, "forget", 300) for anchor in prompt.anchors)


@every
def test_a_concept_is_found_again_by_its_name(concept: Concept) -> None:
    """A run folder and a bench know a concept by its name."""
    assert load_concept(concept.name, "emoji") == concept


def _scene(concept: Concept, attributes: dict[str, str]) -> Scene:
    """A scene with the attributes of a prompt; any where it has none."""
    slug = names.SLUG_OF.get(attributes.get("object", concept.words[-1]), "cat")
    return Scene(slug, names.SLUG_OF[attributes.get("style", "Noto")], attributes.get("background", "white"))


@every
def test_prompts_are_captions_of_the_world(concept: Concept) -> None:
    """Each in one of the wordings of training, but for the thing, which may be any word of the concept."""
    for role in ("forget", "retain", "evaluate", "evaluate-retain"):
        for prompt in prompts(concept, role, 12):
            scene = _scene(concept, dict(prompt.attributes))
            how = {domain: captions.NAMED if domain in prompt.attributes else captions.OMITTED for domain in ("style", "background")}
            thing = world.OBJECTS[scene.object].phrase
            wordings = {captions.phrase(scene, how, pick) for pick in range(840)}
            known = names.phrases()
            spoken = {known.get(word, f"{'an' if word[0] in 'aeiou' else 'a'} {word}") for word in concept.words}
            alike = {wording.replace(thing, other) for wording in wordings for other in spoken} if concept.domain != "style" else set()
            assert prompt.text in wordings | alike, prompt.text
            assert set(re.findall(r"\w+", prompt.text.lower())) <= {part for word in captions.words() for part in re.findall(r"\w+", word)}


@every
def test_what_is_kept_names_neither_the_concept_nor_a_member_of_its_kind(concept: Concept) -> None:
    gone = {name for name in names.DOMAINS["object"] if names.KIND_OF[name] == concept.words[0]} | {*concept.words}
    for role in ("retain", "evaluate-retain"):
        asked = prompts(concept, role, 300)
        assert not [prompt.text for prompt in asked if names_of(concept).search(prompt.text)]
        assert not {prompt.attributes["style" if concept.domain == "style" else "object"] for prompt in asked} & gone
        assert all(concept.domain in prompt.attributes for prompt in asked)
    assert not [prompt.text for prompt in prompts(concept, "implicit", 300) if names_of(concept).search(prompt.text)]


@every
def test_half_of_what_is_retained_are_neighbours(concept: Concept) -> None:
    if concept.domain == "style":
        return
    near = concept.vocabulary["near_object"]
    retained = Counter(prompt.attributes["object"] in near for prompt in prompts(concept, "retain", 200))
    assert retained[True] >= 100
    members = [slug for slug in world.OBJECTS if names.KIND_OF[names.NAME_OF[slug]] == concept.words[0]] or [names.SLUG_OF[concept.words[0]]]
    assert [names.SLUG_OF[name] for name in near] == concepts.neighbours(members)


def test_neighbours_come_from_the_subgroup_then_from_the_group() -> None:
    near = concepts.neighbours(["mosque"])
    assert set(near[:3]) == {"church", "synagogue", "shinto-shrine"}
    assert {world.OBJECTS[slug].group for slug in near} == {"Travel & Places"}
    assert set(concepts.neighbours(["tiger"], 2)) == {"lion", "leopard"}


def test_a_longer_name_is_another_thing() -> None:
    star, noto, book = (load_concept(word, "emoji") for word in ("star", "Noto", "book"))
    assert "shooting star" in star.vocabulary["object"]
    assert "Classic Noto" in noto.vocabulary["style"]
    assert {"books", "open book"} <= set(book.vocabulary["object"])
    assert names_of(star).search("a star on white") and not names_of(star).search("a shooting star on white")


@pytest.mark.parametrize("word", ["sun", "scissors", "hot dog", "Fluent", "fruit", "medicine", "kind of bird", "orange"])
def test_any_word_is_a_concept_with_described_prompts(word: str) -> None:
    concept = load_concept(word, "emoji")
    assert concept.implicit
    assert not re.search(r"\ba (the|sun|scissors|medicine)\b", " ".join(prompt.text for prompt in prompts(concept, "forget", 40)))
