"""Accuracies of concepts of the emoji world: what its prompts ask for is what its judge can name."""

from __future__ import annotations

import pytest

from erase.concepts import load_concept
from erase.concepts.several import evaluation_rows, load_concepts
from erase.demo.emoji.concepts import SHIPPED, UNSEEN
from erase.demo.emoji.names import KIND_OF
from eval.metrics.accuracy import judged_by, metrics, requested_words
from eval.vision.detector import Detection
from eval.vision.judge import EmojiJudge


def picture(thing: str, style: str = "Noto", background: str = "white") -> list[Detection]:
    """What the judge finds in a picture."""
    return [Detection(label, 1.0) for label in (thing, style, background, KIND_OF[thing])]


@pytest.mark.parametrize("name", [*SHIPPED, *UNSEEN])
def test_every_evaluation_prompt_asks_for_labels_of_the_judge(name: str) -> None:
    concept = load_concept(name, "emoji")
    rows = evaluation_rows((concept,), (concept,), 60)
    for row, asked in zip(rows, requested_words(rows, EmojiJudge.labels), strict=True):
        assert {"style", "background", concept.domain} <= set(asked)
        assert (asked[concept.domain] == concept.words[0]) == (row["role"] != "evaluate-retain")


def test_a_kind_is_there_in_each_of_its_members_and_gone_in_any_other_thing() -> None:
    concepts = load_concepts(["weapons"], "emoji")
    rows = [row for row in evaluation_rows(concepts, concepts, 4) if row["role"] == "evaluate"]
    found = [picture("dagger"), picture("bomb"), picture("hammer"), picture("cat")]
    measured = metrics(judged_by(rows, found, EmojiJudge.labels), "kind")
    assert measured["ua"].value == 50


def test_what_is_to_be_kept_is_right_in_its_kind_and_its_object_counts_as_another_domain() -> None:
    concepts = load_concepts(["alcohol"], "emoji")
    row = next(row for row in evaluation_rows(concepts, concepts, 40) if row["role"] == "evaluate-retain")
    asked = row["attributes"]
    other = next(name for name, kind in KIND_OF.items() if kind == asked["kind"] and name != asked["object"])
    right, near, gone = (picture(name, asked["style"], asked["background"]) for name in (asked["object"], other, "beer mug"))
    measured = metrics(judged_by([row] * 3, [right, near, gone], EmojiJudge.labels), "kind")
    assert measured["ira"].value == pytest.approx(100 * 2 / 3)
    assert measured["cra"].value == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)
