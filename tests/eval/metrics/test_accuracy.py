"""The measures on cases small enough to count by hand."""

from __future__ import annotations

import pytest

from erase.errors import InputError
from eval.metrics.accuracy import MEANINGS, TOGETHER, Judged, became, change, fine, judged, metrics, outcomes, share

LABELS = {"shape": ["circle", "star", "cross"], "colour": ["red", "blue"], "style": ["solid", "dotted"]}


def picture(role: str, asked: str, found: str) -> Judged:
    """A picture from "star red solid"; "-" is a domain that the prompt leaves open."""
    words = [dict(zip(LABELS, text.split(), strict=True)) for text in (asked, found)]
    return Judged(role, {domain: word for domain, word in words[0].items() if word != "-"}, words[1])


PICTURES = [
    picture("evaluate", "star red solid", "star red solid"),  # still there
    picture("evaluate", "star red dotted", "cross red dotted"),  # gone, the rest kept
    picture("evaluate", "star blue solid", "cross red dotted"),  # gone, and so is the rest
    picture("evaluate", "star blue -", "circle blue dotted"),  # gone, the one thing asked kept
    picture("implicit", "star red solid", "star red solid"),
    picture("implicit", "star - -", "cross red solid"),  # asks for nothing else
    picture("evaluate-retain", "circle red solid", "circle red solid"),
    picture("evaluate-retain", "cross blue solid", "circle blue dotted"),  # other shape, other style
    picture("evaluate-retain", "- blue dotted", "star red dotted"),  # no shape asked, so none is wrong
]


def values(pictures: list[Judged], domain: str) -> dict[str, tuple[float, int]]:
    return {name: (round(metric.value, 6), metric.n) for name, metric in metrics(pictures, domain).items()}


def test_every_measure_counted_by_hand() -> None:
    assert values(PICTURES, "shape") == {
        "ua": (75.0, 4),
        "ua_implicit": (50.0, 2),
        "ira": (50.0, 2),
        "cra": (round(100 * (1 + 0.5 + 0.5) / 3, 6), 3),
        "attributes_kept": (round(100 * (1 + 1 + 0 + 1 + 1) / 5, 6), 5),
        "false_alarms": (round(100 / 3, 6), 3),
    }
    assert became(PICTURES, "shape") == {"cross": 2, "circle": 1, "star": 1}


def test_a_concept_of_another_domain_looks_at_its_own_head() -> None:
    pictures = [picture("evaluate", "star red solid", "cross red solid"), picture("evaluate-retain", "star blue solid", "cross blue solid")]
    found = values(pictures, "colour")
    assert found == {"ua": (0.0, 1), "ira": (100.0, 1), "cra": (50.0, 1), "attributes_kept": (50.0, 1), "false_alarms": (0.0, 1)}


def test_intervals_hold_their_values() -> None:
    for metric in metrics(PICTURES, "shape").values():
        assert 0 <= metric.low <= metric.value <= metric.high <= 100
        assert metric.low < metric.high


def test_a_measure_without_pictures_is_left_out() -> None:
    assert values(PICTURES[6:], "shape").keys() == {"ira", "cra"}
    assert metrics([], "shape") == {}
    assert became([], "shape") == {}


def test_order_changes_nothing() -> None:
    assert metrics(PICTURES, "shape") == metrics(PICTURES[::-1], "shape")


def test_prompts_meet_answers_line_by_line() -> None:
    attributes = [{"shape": "star", "colour": "red", "background": "white"}, {"shape": "cross"}]
    rows = [{"text": "t", "role": "evaluate", "attributes": a} for a in attributes]
    found = {"shape": ["star", "cross"], "colour": ["red", "blue"], "style": ["solid", "solid"]}
    first, second = judged(rows, found, LABELS)
    assert first.requested == {"shape": "star", "colour": "red"}  # there is no head for backgrounds
    assert second.detected == {"shape": "cross", "colour": "blue", "style": "solid"}


def test_a_word_without_a_label_is_refused_and_not_counted_as_erased() -> None:
    rows = [{"text": "a starfish", "role": "evaluate", "attributes": {"shape": "starfish"}}]
    with pytest.raises(InputError, match=r'"a starfish" asks for the shape "starfish".*circle, star, cross'):
        judged(rows, {"shape": ["circle"]}, LABELS)


def test_metrics_are_shares_of_the_outcomes_picture_by_picture() -> None:
    found = outcomes(PICTURES, "shape")
    assert found == {
        "ua": [0, 1, 1, 1],
        "ua_implicit": [0, 1],
        "ira": [1, 0],
        "cra": [1, 0.5, 0.5],
        "attributes_kept": [1, 1, 0, 1, 1],
        "false_alarms": [0, 0, 1],
    }
    assert found.keys() == MEANINGS.keys() - set(TOGETHER)  # which are of pictures of several things
    assert {name: share(name, values) for name, values in found.items()} == metrics(PICTURES, "shape")


def test_a_picture_is_fine_without_the_concept_or_with_all_that_was_asked_for() -> None:
    assert [fine(picture, "shape") for picture in PICTURES] == [False, True, True, True, False, True, True, False, False]
    assert fine(picture("evaluate-retain", "- - -", "star red solid"), "shape")  # nothing was asked for


def test_changes_are_in_percentage_points_of_the_pairs() -> None:
    ua = change("ua", [0, 0, 1, 1], [1, 1, 1, 0])
    assert (ua.difference, ua.n) == (25, 4)
    assert -100 <= ua.low < 25 < ua.high <= 100
    kept = change("cra", [1, 1, 1], [1, 0.5, 0])
    assert (kept.difference, kept.n) == (-50, 3)
    assert -100 <= kept.low < -50 < kept.high


@pytest.mark.parametrize("name", [name for name in MEANINGS if name not in TOGETHER])
def test_no_change_is_zero_and_no_more_than_chance(name: str) -> None:
    values = outcomes(PICTURES, "shape")[name]
    same = change(name, values, values)
    assert (same.difference, same.p, same.low) == (0, 1, -same.high)
