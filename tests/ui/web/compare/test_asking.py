"""What a prompt is to a concept, how a model reads it, and which words it does not know."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from erase.concepts import load_concept, prompts
from erase.demo import EMBEDDED, pipeline_path
from erase.demo.worlds import KNOWN_MODELS
from ui.web.compare.asking import asked, held_out, lines_of
from ui.web.compare.choices import concepts_of
from ui.web.compare.reading import note, reading, unknown_words

CONCEPTS = [("demo", "star"), ("demo", "red"), ("scenes", "star"), ("emoji", "cat"), ("emoji", "twemoji"), ("emoji", "alcohol")]


@pytest.mark.parametrize(("world", "name"), CONCEPTS)
def test_the_concepts_own_prompts_have_the_role_and_the_attributes_of_a_measurement(world, name):
    record, concept = asdict(load_concept(name, world)), load_concept(name, world)
    for role in ("evaluate", "implicit", "evaluate-retain"):
        for prompt in prompts(concept, role, 20):
            found = asked(prompt.text, record, KNOWN_MODELS[world])
            assert (found.role, found.attributes) == (role, prompt.attributes)


@pytest.mark.parametrize(
    ("world", "name", "text", "role", "attributes"),
    [("demo", "star", "two red stars", "evaluate", {"colour": "red", "shape": "star"}),
     ("demo", "star", "A RED ring", "evaluate-retain", {"colour": "red", "shape": "ring"}),
     ("demo", "star", "a red ring beside a blue circle", "evaluate-retain", {}),  # which is red is not told by words
     ("demo", "star", "a photo of an elephant", "", {}),
     ("demo", "star", "a thing that shines", "", {}),
     ("scenes", "star", "two red rings", "evaluate-retain", {"colour": "red", "shape": "ring", "count": "two"}),
     ("emoji", "cat", "a hot dog", "evaluate-retain", {"object": "hot dog", "kind": "meal"}),  # no dog
     ("emoji", "alcohol", "a glass of wine", "evaluate", {"kind": "alcoholic drink"})],
)  # fmt: skip
def test_the_words_of_a_world_tell_what_another_prompt_asks_for(world, name, text, role, attributes):
    found = asked(text, asdict(load_concept(name, world)), KNOWN_MODELS[world])
    assert (found.role, found.attributes) == (role, attributes)


def test_without_an_embedded_world_only_the_concepts_name_tells():
    nudity = asdict(load_concept("nudity"))
    assert asked("a nude woman", nudity, None).role == "evaluate"
    assert asked("a lovely couple", nudity, None).role == ""
    assert asked("a red star", None, KNOWN_MODELS["demo"]).role == ""


def test_lines_are_prompts_each_once():
    assert lines_of(" a  star\n\n a ring \r\na star\n") == ["a star", "a ring"]
    assert lines_of("") == lines_of(None) == []


@pytest.mark.parametrize("model", EMBEDDED)
def test_tokens_are_those_of_the_models_own_tokenizer(model):
    from transformers import CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(pipeline_path(model) / "tokenizer")
    texts = [*held_out(asdict(concepts_of(model)[0])), "An ELEPHANT, riding a bicycle's wheel 42!", "a red star " * 20, "étoile 星"]
    for text in texts:
        ids = own(text).input_ids
        found = reading(text, model)
        assert (found.tokens, found.limit) == (len(ids) - 2, own.model_max_length - 2)
        assert bool(found.cut) is (len(ids) > own.model_max_length)
    assert reading("a red star " * 20, model).cut == ("a red star " * 10).strip()
    assert reading("a star", "/nowhere") is None


def test_what_is_cut_and_what_is_not_known_is_said_and_escaped():
    said = note(["a red star " * 20, "a purple <b>elephant</b> riding"], "demo", KNOWN_MODELS["demo"])
    assert "60 of 30 tokens in the longest prompt" in said
    assert "is cut after “… ar a red star a red star”" in said
    assert "demo does not know: b, elephant, riding." in said
    assert "<b>" not in said
    assert "does not know" not in note(["a drawing of a red star, five-pointed"], "demo", KNOWN_MODELS["demo"])
    assert note([], "demo", KNOWN_MODELS["demo"]) == ""


@pytest.mark.parametrize("model", EMBEDDED)
def test_a_world_knows_every_word_of_its_own_prompts(model):
    known = KNOWN_MODELS[model]
    for concept in concepts_of(model):
        for text in held_out(asdict(concept), 8):
            assert unknown_words(text, known) == [], text
