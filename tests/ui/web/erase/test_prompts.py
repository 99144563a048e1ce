"""A concept shown as text and read back is the same concept; an edited one becomes a file that the engine reads."""

from __future__ import annotations

import pytest

from erase.concepts import list_concepts, load_concept, prompts, read_concept
from erase.errors import InputError
from ui.web.erase.prompts import TEXTS, _lines, concept_toml, edited, examples, texts

FREE = ["Van Gogh style", "a church", "blood"]
ALL = [*(concept.name for concept in list_concepts()), *FREE]


@pytest.mark.parametrize("name", ALL)
def test_a_concept_survives_being_written(name, tmp_path):
    concept = load_concept(name)
    path = tmp_path / "a.toml"
    path.write_text(concept_toml(concept, {key: _lines(text) for key, text in texts(concept).items()}), encoding="utf-8")
    again = read_concept(path)
    for role in ("forget", "retain", "evaluate", "implicit", "evaluate-retain"):
        assert [(p.text, p.anchors) for p in prompts(again, role, 30)] == [(p.text, p.anchors) for p in prompts(concept, role, 30)]
    assert (again.settings, again.detector, again.words) == (concept.settings, concept.detector, concept.words)


def test_what_is_not_edited_needs_no_file(tmp_path):
    concept = load_concept("star")
    spaced = {name: f"\n {text} \n\n" for name, text in texts(concept).items()}
    assert edited(concept, spaced, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_an_edited_concept_is_a_file_under_a_name_that_follows_from_it(tmp_path):
    concept = load_concept("star")
    given = texts(concept) | {"forget": "a {concept}\na big {concept}", "anchors": "cross"}
    path = edited(concept, given, tmp_path)
    assert path == edited(concept, given, tmp_path)
    again = read_concept(path)
    assert (again.forget, again.anchors, again.retain) == (("a {concept}", "a big {concept}"), ("cross",), concept.retain)


def test_whole_prompts_as_anchors_where_a_word_has_no_place(tmp_path):
    concept = load_concept("a church")
    given = texts(concept) | {"forget": "the steeple over the village", "anchors": "a village"}
    assert read_concept(edited(concept, given, tmp_path)).anchor_prompts == ("a village",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"forget": ""}, "missing"), ({"retain": "a star"}, "names the concept"), ({"forget": "a {size} {concept}"}, "slot"),
     ({"forget": "a {concept"}, "loose brace"), ({"forget": "x" * 401}, "at most"), ({"forget": "a\n" * 401}, "at most")],
)  # fmt: skip
def test_what_is_no_concept_is_said_in_a_line_without_a_path(changes, said, tmp_path):
    concept = load_concept("star")
    with pytest.raises(InputError, match=said) as error:
        edited(concept, texts(concept) | changes, tmp_path)
    assert str(tmp_path) not in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_letters_that_toml_gives_a_meaning_stay_letters(tmp_path):
    concept = load_concept("a church")
    odd = 'a "quoted" \\ {concept} 😀 \x7f # no comment'
    path = edited(concept, texts(concept) | {"forget": odd}, tmp_path)
    assert read_concept(path).forget == (odd,)


def test_examples_are_what_the_templates_become():
    found = examples(load_concept("star"), 3)
    assert list(found) == [label for name, (label, _) in TEXTS.items() if name not in ("words", "anchors")]
    assert all(len(lines) == 3 and "{" not in "".join(lines) for lines in found.values())
