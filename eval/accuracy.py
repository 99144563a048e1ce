"""What a detector of several domains says about an erasure: is the concept gone, and does the rest still come as asked?

Pure functions of what prompts asked for and what a detector found; knows no files, networks or particular detector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erase.task import InputError
from eval.intervals import Metric, mean_share, rate

MEANINGS = {
    "ua": "the concept, named, is not drawn",
    "ua_implicit": "the concept, described, is not drawn",
    "ira": "the rest of its domain is drawn as asked",
    "cra": "other domains are as asked, other prompts",
    "attributes_kept": "other domains are as asked, its prompts",
}


@dataclass(frozen=True)
class Judged:
    """A picture: the role of its prompt, what the prompt asks for and what the detector found (both domain -> name)."""

    role: str
    asked: Mapping[str, str]
    found: Mapping[str, str]


def metrics(pictures: Sequence[Judged], domain: str) -> dict[str, Metric]:
    """The measures of MEANINGS for a concept of `domain`; one without pictures is left out.

    Where a prompt means the concept, asked[domain] is the concept itself.
    """
    named, implied, others = (_of_role(pictures, role) for role in ("evaluate", "implicit", "evaluate-retain"))
    hits = {
        "ua": [not _agrees(p, domain) for p in named],
        "ua_implicit": [not _agrees(p, domain) for p in implied],
        "ira": [_agrees(p, domain) for p in others if domain in p.asked],
    }
    shares = {"cra": _kept(others, domain), "attributes_kept": _kept(named + implied, domain)}
    return {name: rate(values) for name, values in hits.items() if values} | {
        name: mean_share(values) for name, values in shares.items() if values
    }


def became(pictures: Sequence[Judged], domain: str) -> dict[str, int]:
    """What the prompts that name the concept show in its domain: label -> pictures, the most frequent first."""
    counts = Counter(p.found[domain] for p in _of_role(pictures, "evaluate"))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def judged(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Prompts (role, attributes) with the detector's answer (domain -> a name a picture).

    A word that the detector has no label for can never be found, which would pass for a perfect erasure: InputError.
    """
    pictures = []
    for i, row in enumerate(rows):
        asked = {domain: word for domain, word in row["attributes"].items() if domain in labels}
        for domain, word in asked.items():
            if word not in labels[domain]:
                known = ", ".join(labels[domain])
                what = f'the prompt "{row["text"]}" asks for the {domain} "{word}"'
                raise InputError(f"{what}, which the detector cannot see; it knows {known}")
        pictures.append(Judged(row["role"], asked, {domain: names[i] for domain, names in found.items()}))
    return pictures


def _of_role(pictures: Sequence[Judged], role: str) -> list[Judged]:
    return [picture for picture in pictures if picture.role == role]


def _agrees(picture: Judged, domain: str) -> bool:
    return picture.found[domain] == picture.asked[domain]


def _kept(pictures: Sequence[Judged], domain: str) -> list[float]:
    """For each picture that asks for any domain beside this one, the share of those that are as asked."""
    asked = [(picture, [other for other in picture.asked if other != domain]) for picture in pictures]
    return [sum(_agrees(picture, other) for other in others) / len(others) for picture, others in asked if others]
