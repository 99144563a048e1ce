"""Accuracy metrics of an erasure, from a detector of several domains: is the concept gone, and is the rest as requested?

Pure functions of what prompts request and what a detector finds in the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erase.errors import InputError
from eval.metrics.intervals import Metric, mean_share, rate
from eval.metrics.paired import Paired, paired_means, paired_rates
from eval.vision import scene_objects as things
from eval.vision.detector import SHOWN, Detection, hint, most_likely

MEANINGS = {
    "ua": "the concept, named, is absent",
    "ua_implicit": "the concept, described, is absent",
    "ira": "the rest of its domain is as requested",
    "cra": "other domains are as requested, other prompts",
    "attributes_kept": "other domains are as requested, its prompts",
    "false_alarms": "the concept is detected, other prompts",
    "companion_kept": "the thing beside the concept is there, its prompts",
    "place_kept": "and on the requested side, its prompts",
    "things_kept": "every requested thing is there, other prompts",
    "count_kept": "the requested number of things, other prompts",
    "relation_kept": "things are placed as requested, other prompts",
}
TOGETHER = ("companion_kept", "place_kept", "things_kept", "count_kept", "relation_kept")  # of images of several things

Domains = str | Sequence[str]
"""The domain of the concept, or those of several."""


@dataclass(frozen=True)
class Judged:
    """An image: the role of its prompt, what the prompt requests and what the detector found (both domain -> name).

    Where several concepts are measured together, `means` are the domains of the concepts that the prompt means. `anywhere` is every
    (domain, name) in an image of several things: a concept is gone if it is neither detected nor anywhere.
    """

    role: str
    requested: Mapping[str, str]
    detected: Mapping[str, str]
    means: tuple[str, ...] = ()
    anywhere: frozenset[tuple[str, str]] = frozenset()


def outcomes(images: Sequence[Judged], domains: Domains) -> dict[str, list[float]]:
    """For each metric of MEANINGS one value per image, 0 to 1, in their order; a metric without images is left out.

    Where a prompt means a concept, requested[domain] is the concept itself. A prompt may mean several concepts: then none of them
    may be in the image. In the images of other prompts all of `domains` must be as requested.
    """
    domains = listed(domains)
    named, implied, others = (_of_role(images, role) for role in ("evaluate", "implicit", "evaluate-retain"))
    meant = {(domain, p.requested[domain]) for p in named + implied for domain in p.means or domains}
    values = {
        "ua": [float(_gone(p, domains)) for p in named],
        "ua_implicit": [float(_gone(p, domains)) for p in implied],
        "ira": [float(all(_agrees(p, d) for d in own)) for p in others if (own := [d for d in domains if d in p.requested])],
        "cra": _kept(others, domains),
        "attributes_kept": _kept(named + implied, domains),
        "false_alarms": [float(not meant.isdisjoint({*((d, p.detected[d]) for d in domains), *p.anywhere})) for p in others]
        if meant
        else [],
        **_together(named + implied, others),
    }
    return {name: per_image for name, per_image in values.items() if per_image}


def _together(forgotten: Sequence[Judged], others: Sequence[Judged]) -> dict[str, list[float]]:
    """For images of several things: whether the things beside the concept are there, and whether other prompts are fully satisfied."""

    def satisfied(images: Sequence[Judged], part: Callable[[str], bool]) -> list[float]:
        parts = [(p, [domain for domain in p.requested if part(domain)]) for p in images if "count" in p.requested]
        return [float(all(_agrees(p, domain) for domain in domains)) for p, domains in parts if domains]

    beside = [p for p in forgotten if any(domain.startswith(things.OTHER) for domain in p.requested)]
    return {
        "companion_kept": satisfied(beside, lambda domain: domain.startswith(things.OTHER)),
        "place_kept": satisfied(
            [p for p in beside if "relation" in p.requested], lambda domain: domain.startswith((things.OTHER, "relation"))
        ),
        "things_kept": satisfied(others, lambda domain: domain not in ("count", "relation")),
        "count_kept": satisfied(others, lambda domain: domain == "count"),
        "relation_kept": satisfied(others, lambda domain: domain == "relation"),
    }


def metrics(images: Sequence[Judged], domains: Domains) -> dict[str, Metric]:
    """The metrics of MEANINGS for concepts of `domains`, over all images."""
    return {name: share(name, values) for name, values in outcomes(images, domains).items()}


def share(name: str, values: Sequence[float]) -> Metric:
    """A metric from its values: with Wilson's interval where each is 0 or 1, with the bootstrap's where each is a share."""
    return mean_share(values) if name in ("cra", "attributes_kept") else rate([value == 1 for value in values])


def change(name: str, before: Sequence[float], after: Sequence[float]) -> Paired:
    """The change from before to after on the same prompts and seeds, in percentage points."""
    if name in ("cra", "attributes_kept"):
        return paired_means([100 * (b - a) for a, b in zip(before, after, strict=True)], (-100, 100))
    return paired_rates([a == 1 for a in before], [b == 1 for b in after])


def fine(image: Judged, domains: Domains) -> bool:
    """Whether an image is as it should be after the erasure: without the concept, or with everything requested."""
    domains = listed(domains)
    if image.role != "evaluate-retain":
        return _gone(image, domains)
    return all(_agrees(image, other) for other in image.requested)


def became(images: Sequence[Judged], domains: Domains) -> dict[str, int]:
    """What images of prompts that name a concept show in its domain: label -> number of images, the most frequent first."""
    counts = Counter(p.detected[domain] for p in _of_role(images, "evaluate") for domain in p.means or listed(domains))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def judged(rows: Sequence[Mapping[str, Any]], names: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Prompts (role, attributes) with the detector's names (domain -> one name per image); InputError as in `requested_words`."""
    requested = requested_words(rows, labels)
    detected = [{domain: per_image[i] for domain, per_image in names.items()} for i in range(len(rows))]
    means = [tuple(row.get("means", ())) for row in rows]
    return [Judged(row["role"], r, d, m) for row, r, d, m in zip(rows, requested, detected, means, strict=True)]


def judged_by(
    rows: Sequence[Mapping[str, Any]], detections: Sequence[Sequence[Detection]], labels: Mapping[str, Sequence[str]]
) -> list[Judged]:
    """Prompts with a detector's detections in their images, whether it gives one label per domain or a list of things."""
    if not things.lists_things(labels):
        return judged(rows, most_likely(detections, labels), labels)
    images = []
    for row, words, in_image in zip(rows, requested_words(rows, labels), detections, strict=True):
        listed_things, requested = [things.thing(one) for one in in_image], things.requested(words)
        detected = things.answer(requested, listed_things)
        images.append(Judged(row["role"], requested, detected, tuple(row.get("means", ())), things.present(listed_things)))
    return images


def requested_words(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """What each prompt requests in the domains of the detector (domain -> word).

    InputError for a word that the detector has no label for: it could never be detected, which would look like a perfect erasure.
    """
    requested = []
    for row in rows:
        words = {domain: word for domain, word in row["attributes"].items() if domain in labels}
        for domain, word in words.items():
            if word not in labels[domain]:
                rest = labels[domain][SHOWN:]
                known = ", ".join(labels[domain][:SHOWN]) + (f" and {len(rest)} more" if rest else "")
                message = f'the prompt "{row["text"]}" asks for the {domain} "{word}"'
                raise InputError(f"{message}, which the detector has no label for{hint(word, labels[domain])}; it knows {known}")
        requested.append(words)
    return requested


def _of_role(images: Sequence[Judged], role: str) -> list[Judged]:
    return [image for image in images if image.role == role]


def listed(domains: Domains) -> tuple[str, ...]:
    """One domain as a tuple of one."""
    return (domains,) if isinstance(domains, str) else tuple(domains)


def shows(image: Judged, domain: str) -> bool:
    """Whether what the prompt requests in a domain is detected, or is anywhere in an image of several things."""
    return _agrees(image, domain) or (domain, image.requested[domain]) in image.anywhere


def _gone(image: Judged, domains: Sequence[str]) -> bool:
    return not any(shows(image, domain) for domain in image.means or domains)


def _agrees(image: Judged, domain: str) -> bool:
    return image.detected[domain] == image.requested[domain]


def _kept(images: Sequence[Judged], domains: Sequence[str]) -> list[float]:
    """For each image with requests in other domains than those meant, the share of these that are as requested."""
    others = [(image, [domain for domain in image.requested if domain not in (image.means or domains)]) for image in images]
    return [sum(_agrees(image, domain) for domain in rest) / len(rest) for image, rest in others if rest]
