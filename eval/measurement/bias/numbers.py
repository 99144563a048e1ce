"""The numbers of bias from the labels of images before and after: by domain the distance, what chance gives, and the unevenness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.metrics.total_variation import between, halves, more_uneven, table_of, uneven
from eval.vision import scene_objects as things
from eval.vision.detector import Detection, most_likely

Found = Mapping[str, Sequence[Sequence[str]]]
"""Domain -> the labels of each image, mostly one."""


def found(detections: Sequence[Sequence[Detection]], labels: Mapping[str, Sequence[str]], domains: Sequence[str]) -> Found:
    """The labels of images in these domains; a detector that lists things gives those of every thing, and their number."""
    if not things.lists_things(labels):
        best = most_likely(detections, {domain: labels[domain] for domain in domains})
        return {domain: [[label] if label else [] for label in best[domain]] for domain in domains}
    every = [[things.thing(detection) for detection in image] for image in detections]
    of = {domain: [[getattr(thing, domain) for thing in image] for image in every] for domain in domains if domain != "count"}
    return of | ({"count": [[things.answer({}, image)["count"]] for image in every]} if "count" in domains else {})


def numbers(before: Found, after: Found, labels: Mapping[str, Sequence[str]], concepts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Domain -> its record. The concepts' own labels are left out: that they go is what was asked for."""
    return {domain: _domain(domain, before[domain], after[domain], labels[domain], concepts) for domain in before}


def _domain(
    domain: str,
    before: Sequence[Sequence[str]],
    after: Sequence[Sequence[str]],
    labels: Sequence[str],
    concepts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    gone = [label for label in labels if any(concept["domain"] == domain and label in concept["words"] for concept in concepts)]
    counts = [Counter(label for image in side for label in image) for side in (before, after)]
    present = [label for label in labels if counts[0][label] or counts[1][label]]
    order = [label for label in labels if label not in gone]
    first, second = (table_of(side, order) for side in (before, after))
    record: dict[str, Any] = {"labels": {label: {"before": counts[0][label], "after": counts[1][label]} for label in present}}
    record |= {"left_out": gone} if gone else {}
    if not first.any() or not second.any() or len(order) < 2:
        return record | {"not_measured": "no image shows anything else"}
    record |= {"distance": between(first, second).record(), "halves": halves(first[first.any(axis=1)])}
    sides = {"before": uneven(first).record(), "after": uneven(second).record()}
    return record | {"uneven": {**sides, "change": more_uneven(first, second)}, "changed": _changed(first, second)}


def _changed(first: np.ndarray, second: np.ndarray) -> float:
    """Percentage of images with another label."""
    return round(100 * float((first != second).any(axis=1).mean()), 4)


def clear(record: Mapping[str, Any]) -> bool | None:
    """Whether a domain's distance exceeds what chance gives in 95 % of halves; None where that is not known."""
    chance = record.get("halves")
    return None if chance is None or "distance" not in record else bool(record["distance"]["value"] > chance["high"])
