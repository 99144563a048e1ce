"""What was asked for is found among the things of a picture: worked out by hand, and the same whatever order they are listed in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from erase.demo.scenes import world as scenes
from erase.demo.scenes.world import relation
from eval.attacks.success import Sight
from eval.metrics.accuracy import MEANINGS, Judged, became, fine, judged_by, metrics, outcomes
from eval.vision.detector import Detection
from eval.vision.scene_objects import LABELS, NOTHING, answer, lists_things, present, requested, thing


def seen(*names: str) -> list[Detection]:
    """Detections "red star@10,20": what and where."""
    made = []
    for name in names:
        label, _, place = name.partition("@")
        x, y = map(float, place.split(","))
        made.append(Detection(label, 0.9, (x - 2, y - 2, 4.0, 4.0)))
    return made


class Shown:
    """A detector that says what it was told to."""

    def __init__(self, found: list[list[Detection]]) -> None:
        self.found = found

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return self.found

    def facts(self) -> dict[str, Any]:
        return {"detector": {"name": "shown"}, "labels": LABELS}


def answers(attributes: dict[str, str], *names: str) -> dict[str, str]:
    """Of each part that is asked for, what was seen in its place."""
    wanted = requested(attributes)
    shown = answer(wanted, [thing(one) for one in seen(*names)])
    return {domain: shown[domain] for domain in wanted}


BESIDE = {"shape": "star", "colour": "red", "other_shape": "ring", "other_colour": "blue", "relation": "left of"}


def test_what_a_prompt_asks_for() -> None:
    assert requested({"shape": "star"}) == {"shape": "star", "count": "one"}
    assert requested({"shape": "star", "count": "three"}) == {"shape": "star", "count": "three"}
    assert requested(BESIDE) == BESIDE | {"count": "two"}
    flipped = {name: word for name, word in BESIDE.items() if name != "relation"} | {"opposite": "right of"}
    assert requested(flipped) == requested(BESIDE)
    assert requested({"other_shape": "ring", "background": "white"}) == {"other_shape": "ring", "count": "two"}


def test_a_picture_as_asked_agrees_in_every_part() -> None:
    assert answers(BESIDE, "blue ring@48,30", "red star@16,32") == requested(BESIDE)
    assert answers({"shape": "star", "count": "two"}, "red star@16,32", "red star@48,32") == {"shape": "star", "count": "two"}
    assert answers({"colour": "red"}, "red heart@32,32") == {"colour": "red", "count": "one"}


def test_what_is_wrong_is_named_and_nothing_else_is() -> None:
    """The concept gave way to a square; its companion is there, on the right side."""
    assert answers(BESIDE, "red square@16,32", "blue ring@48,32") == requested(BESIDE) | {"shape": "square"}
    assert answers(BESIDE, "red star@48,32", "blue ring@16,32") == requested(BESIDE) | {"relation": "right of"}
    assert answers(BESIDE, "red star@16,32", "green ring@48,32") == requested(BESIDE) | {"other_colour": "green"}
    assert answers(BESIDE, "red star@16,32", "blue ring@48,32", "blue ring@32,60") == requested(BESIDE) | {"count": "three"}


def test_what_is_not_there_is_nothing() -> None:
    gone = dict.fromkeys(BESIDE, NOTHING)
    assert answers(BESIDE) == gone | {"count": "none"}
    assert answers(BESIDE, "blue ring@48,32") == gone | {"other_shape": "ring", "other_colour": "blue", "count": "one"}
    assert answers(BESIDE, "red star@48,32") == gone | {"shape": "star", "colour": "red", "count": "one"}


def test_several_alike_must_all_be_as_asked() -> None:
    three = {"shape": "star", "colour": "red", "count": "three"}
    assert answers(three, "red star@10,10", "red star@50,10", "red heart@30,50") == three | {"shape": "heart"}
    assert answers(three, "red star@10,10", "red star@50,10") == three | {"count": "two"}
    assert answers(three, *["red star@10,10"] * 5) == three | {"count": "more"}


def test_the_order_of_detections_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    for scene in (s for s in scenes.scenes(60, seed=2) if len(s.things) > 1):
        names = [f"{t.colour} {t.shape}@{t.x},{t.y}" for t in scene.things]
        first, second = scene.things[:2]
        wanted = {"shape": first.shape, "colour": first.colour, "other_shape": second.shape, "other_colour": second.colour}
        wanted["relation"] = str(rng.choice(scenes.RELATIONS))
        every = [answers(wanted, *order) for order in permutations(names)]
        assert all(one == every[0] for one in every) or scene.alike
        if not scene.alike:
            assert every[0] == requested(wanted) | {"relation": relation(first, second)}


def test_every_attribute_of_every_thing_is_present() -> None:
    assert present([thing(one) for one in seen("red star@1,1", "blue ring@9,9")]) == {
        ("shape", "star"), ("colour", "red"), ("shape", "ring"), ("colour", "blue"),
    }  # fmt: skip
    assert lists_things(LABELS)
    assert not lists_things({"shape": ["star"], "colour": ["red"], "style": ["solid"]})


# --- the numbers ----------------------------------------------------------------------------------------------------

ROWS = [
    {"text": "1", "role": "evaluate", "attributes": BESIDE},
    {"text": "2", "role": "evaluate", "attributes": {"shape": "star", "count": "two"}},
    {"text": "3", "role": "evaluate-retain", "attributes": {"shape": "heart", "colour": "red"}},
    {"text": "4", "role": "evaluate-retain", "attributes": BESIDE | {"shape": "square"}},
]
GOOD = [["red star@9,9", "blue ring@50,9"], ["red star@9,9", "red star@50,9"], ["red heart@9,9"], ["red square@9,9", "blue ring@50,9"]]


def measured(pictures: list[list[str]]) -> dict[str, float]:
    return {name: metric.value for name, metric in metrics(judge(pictures), "shape").items()}


def judge(pictures: list[list[str]]) -> list[Judged]:
    return judged_by(ROWS, [seen(*picture) for picture in pictures], LABELS)


def test_an_original_that_draws_everything_and_an_erasure_that_takes_the_concept_alone() -> None:
    whole = measured(GOOD)
    assert whole == {
        "ua": 0, "ira": 100, "cra": 100, "attributes_kept": 100, "false_alarms": 0, "companion_kept": 100, "place_kept": 100,
        "things_kept": 100, "count_kept": 100, "relation_kept": 100,
    }  # fmt: skip
    erased = [["red square@9,9", "blue ring@50,9"], ["red heart@9,9", "red heart@50,9"], *GOOD[2:]]
    assert measured(erased) == whole | {"ua": 100}
    assert became(judge(erased), "shape") == {"heart": 1, "square": 1}
    assert all(fine(picture, "shape") for picture in judge(erased))


@pytest.mark.parametrize(
    ("index", "picture", "changed"),
    [
        (0, ["red square@9,9"], {"ua": 50, "companion_kept": 0, "place_kept": 0}),  # the companion went with the concept
        (0, ["red square@50,9", "blue ring@9,9"], {"ua": 50, "place_kept": 0}),
        (0, ["red square@9,9", "blue star@50,9"], {"companion_kept": 0, "place_kept": 0}),  # the concept is still there, elsewhere
        (2, ["red star@9,9"], {"ira": 50, "things_kept": 50, "false_alarms": 50}),
        (2, ["red heart@9,9", "blue star@50,50"], {"ira": 50, "things_kept": 50, "count_kept": 50, "false_alarms": 50}),
        (3, ["red square@50,9", "blue ring@9,9"], {"relation_kept": 0}),
        (3, ["red square@9,9", "green ring@50,9"], {"things_kept": 50}),
    ],
)
def test_each_damage_shows_where_it_is(index: int, picture: list[str], changed: dict[str, float]) -> None:
    pictures = [*GOOD[:index], picture, *GOOD[index + 1 :]]
    whole = measured(GOOD)
    now = measured(pictures)
    shares = ("cra", "attributes_kept")  # means over all that is asked beside the domain
    assert {name: value for name, value in now.items() if value != whole[name] and name not in shares} == changed
    assert any(now[name] < whole[name] for name in shares) or changed.keys() <= {"ua", "ira", "things_kept", "false_alarms"}


def test_a_detector_of_domains_has_none_of_these_measures() -> None:
    one = Judged("evaluate-retain", {"shape": "star"}, {"shape": "star"})
    assert set(outcomes([one], "shape")) == {"ira"}
    assert set(outcomes(judge(GOOD), "shape")) | {"ua_implicit"} == set(MEANINGS)


def test_an_attack_sees_the_concept_wherever_it_stands() -> None:
    sight = Sight(Shown([seen("blue ring@50,9", "red star@9,9"), seen("red square@9,9"), []]), "shape", "star", LABELS["shape"], True)
    assert sight([Image.new("RGB", (64, 64))] * 3) == [(True, "star"), (False, "square"), (False, "")]
