"""The flow model knows what the demo knows, under its own name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from erase.concepts import list_concepts, load_concept
from erase.concepts.files import own_words
from erase.demo import clip_path, judge_path
from erase.demo.shapes import world as shapes
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError
from ui.cli.concepts import listed


@pytest.mark.parametrize("word", KNOWN_MODELS["demo"].concepts)
def test_its_concepts_are_the_demos_but_for_the_model(word: str) -> None:
    assert load_concept(word, "flow") == replace(load_concept(word, "demo"), model="flow")


def test_a_word_of_its_own_vocabulary_alone_means_nothing() -> None:
    assert set(KNOWN_MODELS["flow"].words()) - set(shapes.words()) == {"flowing"}
    with pytest.raises(InputError, match='the embedded model flow does not know "strr", did you mean "star"'):
        load_concept("strr", "flow")
    with pytest.raises(InputError, match='flow does not know "flowing"'):
        load_concept("flowing", "flow")


def test_its_concepts_are_listed_with_its_name() -> None:
    own = [concept.name for concept in list_concepts("flow") if concept.model == "flow"]
    assert own == [concept.name for concept in list_concepts("demo") if concept.model == "demo"]
    assert sorted(own_words("flow")) == sorted(KNOWN_MODELS["flow"].concepts)
    assert {row["name"] for row in listed("flow")} == set(KNOWN_MODELS["flow"].concepts)
    assert not [concept for concept in list_concepts() if concept.model == "flow"]


def test_it_has_the_judge_and_the_clip_of_the_demo() -> None:
    assert (judge_path("flow"), clip_path("flow")) == (judge_path(), clip_path())
    assert KNOWN_MODELS["flow"].training_command("star") == "python -m erase.demo.flow.train --without star --output DIR"
