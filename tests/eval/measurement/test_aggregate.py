"""Numbers of a report from records small enough to count by hand, and exactly no difference between a model and itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from erase.errors import InputError
from eval.measurement.aggregate import Aggregate, Measurements, aggregate, classified, distances, exposed, to_reference
from eval.metrics.frechet import Moments, frechet, frechet_distance
from eval.metrics.kid import Sample, kid

LABELS = {"shape": ["star", "ring", "cross"], "colour": ["red", "blue"]}
BODY = {"body": ["FEET_EXPOSED", "BELLY_EXPOSED", "FACE_FEMALE"]}
ROWS = [
    {"text": "a red star", "role": "evaluate", "attributes": {"shape": "star", "colour": "red"}},
    {"text": "a blue star", "role": "evaluate", "attributes": {"shape": "star", "colour": "blue"}},
    {"text": "it twinkles", "role": "implicit", "attributes": {"shape": "star"}},
    {"text": "a red ring", "role": "evaluate-retain", "attributes": {"shape": "ring", "colour": "red"}},
    {"text": "a blue ring", "role": "evaluate-retain", "attributes": {"shape": "ring", "colour": "blue"}},
    {"text": "something blue", "role": "evaluate-retain", "attributes": {"colour": "blue"}},
]
BEFORE = ["star red", "star blue", "star red", "ring red", "ring blue", "cross blue"]
AFTER = ["cross red", "ring red", "star blue", "ring red", "star blue", "ring red"]
CLIP = {"name": "small", "dimension": 3}
INCEPTION = {"name": "inception", "dimension": 2048}


def sums(features: Tensor | None, indexes: list[int] | None = None) -> tuple[Moments, Sample]:
    """Of features (n, d), as they are measured."""
    if features is None:
        return Moments.empty(0), Sample(0)
    moments, sample = Moments.empty(features.shape[1]), Sample(len(features))
    moments.update(features)
    sample.update(indexes or range(len(features)), features)
    return moments, sample


def shown(words: list[str], **scores: list[float]) -> Measurements:
    """A classifier's answers, and scores of the pictures to keep."""
    records: list[dict[str, Any]] = [{"index": i, "found": [[word, 0.9] for word in text.split()]} for i, text in enumerate(words)]
    for name, values in scores.items():
        for i, value in zip(range(len(words) - len(values), len(words)), values, strict=True):
            records[i][name] = value
    return Measurements(records, *sums(None))


def boxes(found: list[list[str]]) -> Measurements:
    return Measurements([{"index": i, "found": [[label, 0.7] for label in labels]} for i, labels in enumerate(found)], *sums(None))


def values(part: dict[str, Any]) -> dict[str, float]:
    return {name: metric["value"] for name, metric in part.items() if "value" in metric}


def numbers(*arguments: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """before, after, paired and fates."""
    result = aggregate(*arguments)
    return result.before, result.after, result.paired, result.fates


def test_a_classifier_of_the_domain_counted_by_hand() -> None:
    before, after, paired, fates = numbers(ROWS, shown(BEFORE), shown(AFTER), LABELS, "shape")
    assert values(before) == {"ua": 0, "ua_implicit": 0, "ira": 100, "cra": 100, "attributes_kept": 100, "false_alarms": 0}
    assert values(after) == pytest.approx(
        {"ua": 100, "ua_implicit": 0, "ira": 50, "cra": 66.6667, "attributes_kept": 50, "false_alarms": 33.3333}
    )
    assert before["became"] == {"star": 2}
    assert after["became"] == {"cross": 1, "ring": 1}
    assert {name: (p["difference"], p["n"]) for name, p in paired.items()} == {
        "ua": (100, 2), "ua_implicit": (0, 1), "ira": (-50, 2), "cra": (-33.3333, 3), "attributes_kept": (-50, 2),
        "false_alarms": (33.3333, 3),
    }  # fmt: skip
    assert [(f["ok_before"], f["ok_after"]) for f in fates] == [(False, True)] * 2 + [
        (False, False),
        (True, True),
        (True, False),
        (True, False),
    ]
    assert [f["role"] for f in fates] == [row["role"] for row in ROWS]
    assert "exposed_before" not in fates[0]


def test_a_detector_of_what_should_not_be_there_counted_by_hand() -> None:
    feet, belly = "FEET_EXPOSED", "BELLY_EXPOSED"
    first = boxes([[feet, feet], [belly], [feet], [], ["FACE_FEMALE"], []])
    then = boxes([[], [belly, feet], [], [], [], []])
    before, after, paired, fates = numbers(ROWS, first, then, BODY, "nudity")
    assert values(before) == pytest.approx({"ua": 0, "ua_implicit": 0, "false_alarms": 33.3333})
    assert values(after) == {"ua": 50, "ua_implicit": 100, "false_alarms": 0}
    assert before["detections"][feet] == {"boxes": 3, "pictures": 2}
    assert after["detections"] == {
        feet: {"boxes": 1, "pictures": 1}, belly: {"boxes": 1, "pictures": 1}, "FACE_FEMALE": {"boxes": 0, "pictures": 0},
        "any exposed": {"boxes": 2, "pictures": 1},
    }  # fmt: skip
    assert {name: p["difference"] for name, p in paired.items()} == {"ua": 50, "ua_implicit": 100, "false_alarms": -33.3333}
    assert [(f["exposed_before"], f["exposed_after"]) for f in fates] == [
        (True, False), (True, True), (True, False), (False, False), (True, False), (False, False),
    ]  # fmt: skip
    assert all(f["ok_before"] != f["exposed_before"] for f in fates)


def test_scores_are_means_over_prompts_to_keep_with_student_s_interval() -> None:
    first, then = [20.0, 25.5, 31.0], [18.0, 26.0, 22.5]
    before, after, paired, _ = numbers(
        ROWS, shown(BEFORE, clip_score=first), shown(AFTER, clip_score=then, ssim=[0.5, 0.7, 0.9]), None, "shape"
    )
    low, high = stats.t.interval(0.95, 2, np.mean(then), stats.sem(then))
    assert after["clip_score"] == {
        "value": pytest.approx(np.mean(then), abs=1e-4),
        "low": pytest.approx(low, abs=1e-4),
        "high": pytest.approx(high, abs=1e-4),
        "n": 3,
    }
    assert before["clip_score"]["value"] == 25.5
    assert paired["clip_score"]["p"] == pytest.approx(stats.ttest_rel(then, first).pvalue, rel=1e-3)
    assert after["ssim"]["value"] == pytest.approx(0.7)
    assert set(before) == {"clip_score"}
    assert set(paired) == {"clip_score"}


def test_without_a_detector_there_is_no_accuracy_and_no_fate() -> None:
    before, after, paired, fates = numbers(ROWS, shown(BEFORE), shown(AFTER), None, "shape")
    assert (before, after, paired, fates) == ({}, {}, {}, [])


def test_a_single_picture_of_each_kind_is_enough() -> None:
    rows, words = [ROWS[0], ROWS[3]], [["star red", "ring red"], ["cross red", "ring blue"]]
    parts = [shown(said, clip_score=[score], ssim=[0.25], lpips=[0.5]) for said, score in zip(words, (20.0, 30.0), strict=True)]
    _, after, paired, _ = numbers(rows, *parts, LABELS, "shape")
    assert after["clip_score"] == {"value": 30, "low": 0, "high": 100, "n": 1}
    assert "lpips" not in after  # has no largest value, and so a single one no interval
    assert (paired["clip_score"]["difference"], paired["clip_score"]["low"], paired["clip_score"]["high"]) == (10, -100, 100)


@pytest.mark.parametrize("labels", [LABELS, BODY, None])
def test_a_model_against_itself_is_exactly_zero_apart(labels: dict[str, list[str]] | None) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 3)
    part = shown(AFTER, clip_score=[20.1, 30.7, 0.3])
    if labels is BODY:
        part = boxes([["FEET_EXPOSED"], [], [], ["BELLY_EXPOSED"], [], []])
    same = [Measurements(part.records, *sums(features)) for _ in range(2)]
    before, after, paired, fates = numbers(ROWS, same[0], same[1], labels, "shape")
    assert before == after
    assert paired or labels is None
    assert all(p["difference"] == 0 and p["p"] == 1 and p["low"] == -p["high"] for p in paired.values())
    assert all(f.get("ok_before") == f.get("ok_after") for f in fates)
    for distance in distances(*same, CLIP).values():
        assert (distance["value"], distance["low"], distance["high"]) == (0, 0, 0)


def test_distances_are_those_of_the_features_and_carry_the_extractor_s_name() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 3), torch.randn(40, 3) + 0.5
    first, then = (Measurements([], *sums(features)) for features in (x, y))
    found = distances(first, then, CLIP)
    assert list(found) == ["frechet_small_3", "kernel_small_3"]
    mean, cov = zip(*((f.double().mean(0), f.double().T.cov()) for f in (x, y)), strict=True)
    assert found["frechet_small_3"]["value"] == pytest.approx(frechet_distance(mean[0], cov[0], mean[1], cov[1]), abs=1e-4)
    assert found["frechet_small_3"]["reliable"] is True
    assert found["kernel_small_3"]["value"] == pytest.approx(kid(x, y, paired=True).metric.value, abs=1e-4)
    real = to_reference(first, then, CLIP)
    assert real["frechet_small_3"]["value"] == found["frechet_small_3"]["value"]
    assert real["frechet_small_3"]["high"] == pytest.approx(frechet(first.moments, then.moments, x, y).metric.high, abs=1e-4)
    assert real["kernel_small_3"]["value"] == pytest.approx(kid(x, y).metric.value, abs=1e-4)


def test_pairs_are_pictures_of_the_same_index() -> None:
    """Samples that came about in another order, as those of several processes do, give the same."""
    torch.manual_seed(0)
    x, y = torch.randn(20, 3), torch.randn(20, 3)
    order = torch.randperm(20).tolist()
    whole = distances(Measurements([], *sums(x)), Measurements([], *sums(y)), CLIP)
    mixed = distances(Measurements([], *sums(x)), Measurements([], *sums(y[order], order)), CLIP)
    assert mixed == whole


def test_only_inception_s_2048_features_make_a_fid_and_few_pictures_make_it_unreliable() -> None:
    torch.manual_seed(0)
    features = [torch.randn(4, 8) for _ in range(2)]
    first, then = (Measurements([], *sums(f)) for f in features)
    found = distances(first, then, {**INCEPTION, "dimension": 2048})
    assert list(found) == ["fid", "kid"]
    assert found["fid"]["reliable"] is False
    assert "4 images for 8 features" in found["fid"]["reason"]
    assert list(distances(first, then, {**INCEPTION, "dimension": 64})) == ["frechet_inception_64", "kernel_inception_64"]
    assert list(distances(first, then, {**INCEPTION, "name": "own-inception"})) == [
        "frechet_own-inception_2048",
        "kernel_own-inception_2048",
    ]


def test_two_pictures_have_a_distance_and_no_kernel_distance() -> None:
    first, then = (Measurements([], *sums(torch.randn(2, 3))) for _ in range(2))
    assert list(distances(first, then, CLIP)) == list(to_reference(first, then, CLIP)) == ["frechet_small_3"]


def test_a_word_that_the_detector_has_no_label_for_is_no_success() -> None:
    rows = [{**ROWS[0], "attributes": {"shape": "starr"}}]
    with pytest.raises(InputError, match=r'asks for the shape "starr".*did you mean "star"'):
        numbers(rows, shown(BEFORE[:1]), shown(AFTER[:1]), LABELS, "shape")


def test_both_kinds_of_detector_give_an_aggregate_and_change_nothing_that_they_are_given() -> None:
    sides = shown(BEFORE, clip_score=[20.0, 25.5, 31.0]), shown(AFTER, clip_score=[18.0, 26.0, 22.5])
    whole = aggregate(ROWS, *sides, LABELS, ["shape"])
    detected = classified(ROWS, *sides, LABELS, ["shape"])
    assert classified(ROWS, *sides, LABELS, ["shape"]) == detected
    assert detected.fates == whole.fates
    assert set(whole.after) - set(detected.after) == {"clip_score"}
    assert list(whole.metrics()) == ["before", "after", "paired"]
    found = boxes([["FEET_EXPOSED"], [], [], [], [], []]), boxes([[], [], [], [], [], []])
    assert exposed(ROWS, *found, BODY) == aggregate(ROWS, *found, BODY, "nudity")
    assert aggregate(ROWS, *sides, None, "shape").fates == []
    assert Aggregate() | whole == whole
