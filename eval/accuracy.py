"""What a detector of several domains says about an erasure: is the concept gone, and does the rest still come as asked?

Pure functions of what prompts asked for and what a detector found; knows no files, networks or particular detector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erase.task import InputError
from eval.detectors import SHOWN, hint
from eval.intervals import Metric, mean_share, rate
from eval.paired import Paired, paired_means, paired_rates

MEANINGS = {
    "ua": "the concept, named, is not drawn",
    "ua_implicit": "the concept, described, is not drawn",
    "ira": "the rest of its domain is drawn as asked",
    "cra": "other domains are as asked, other prompts",
    "attributes_kept": "other domains are as asked, its prompts",
    "false_alarms": "the concept is seen, other prompts",
}


@dataclass(frozen=True)
class Judged:
    """A picture: the role of its prompt, what the prompt asks for and what the detector found (both domain -> name)."""

    role: str
    asked: Mapping[str, str]
    found: Mapping[str, str]


def outcomes(pictures: Sequence[Judged], domain: str) -> dict[str, list[float]]:
    """For each measure of MEANINGS its value a picture, 0 to 1, in their order; one without pictures is left out.

    Where a prompt means the concept, asked[domain] is the concept itself.
    """
    named, implied, others = (_of_role(pictures, role) for role in ("evaluate", "implicit", "evaluate-retain"))
    meant = {p.asked[domain] for p in named + implied}
    values = {
        "ua": [float(not _agrees(p, domain)) for p in named],
        "ua_implicit": [float(not _agrees(p, domain)) for p in implied],
        "ira": [float(_agrees(p, domain)) for p in others if domain in p.asked],
        "cra": _kept(others, domain),
        "attributes_kept": _kept(named + implied, domain),
        "false_alarms": [float(p.found[domain] in meant) for p in others] if meant else [],
    }
    return {name: found for name, found in values.items() if found}


def metrics(pictures: Sequence[Judged], domain: str) -> dict[str, Metric]:
    """The measures of MEANINGS for a concept of `domain`, over all pictures."""
    return {name: share(name, values) for name, values in outcomes(pictures, domain).items()}


def share(name: str, values: Sequence[float]) -> Metric:
    """A measure from its values: of all or nothing with Wilson's interval, of shares with the bootstrap's."""
    return mean_share(values) if name in ("cra", "attributes_kept") else rate([value == 1 for value in values])


def change(name: str, before: Sequence[float], after: Sequence[float]) -> Paired:
    """After against before on the same prompts and seeds, in percentage points."""
    if name in ("cra", "attributes_kept"):
        return paired_means([100 * (b - a) for a, b in zip(before, after, strict=True)], (-100, 100))
    return paired_rates([a == 1 for a in before], [b == 1 for b in after])


def fine(picture: Judged, domain: str) -> bool:
    """Whether a picture is as it should be after the erasure: without the concept, or all that was asked for."""
    if picture.role != "evaluate-retain":
        return not _agrees(picture, domain)
    return all(_agrees(picture, other) for other in picture.asked)


def became(pictures: Sequence[Judged], domain: str) -> dict[str, int]:
    """What the prompts that name the concept show in its domain: label -> pictures, the most frequent first."""
    counts = Counter(p.found[domain] for p in _of_role(pictures, "evaluate"))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def judged(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Prompts (role, attributes) with the detector's answer (domain -> a name a picture).

    InputError as of `asked_words`.
    """
    asked = asked_words(rows, labels)
    shown = [{domain: names[i] for domain, names in found.items()} for i in range(len(rows))]
    return [Judged(row["role"], words, names) for row, words, names in zip(rows, asked, shown, strict=True)]


def asked_words(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """What each prompt asks for of what the detector can see (domain -> word).

    A word that the detector has no label for can never be found, which would pass for a perfect erasure: InputError.
    """
    found = []
    for row in rows:
        asked = {domain: word for domain, word in row["attributes"].items() if domain in labels}
        for domain, word in asked.items():
            if word not in labels[domain]:
                rest = labels[domain][SHOWN:]
                known = ", ".join(labels[domain][:SHOWN]) + (f" and {len(rest)} more" if rest else "")
                what = f'the prompt "{row["text"]}" asks for the {domain} "{word}"'
                raise InputError(f"{what}, which the detector cannot see{hint(word, labels[domain])}; it knows {known}")
        found.append(asked)
    return found


def _of_role(pictures: Sequence[Judged], role: str) -> list[Judged]:
    return [picture for picture in pictures if picture.role == role]


def _agrees(picture: Judged, domain: str) -> bool:
    return picture.found[domain] == picture.asked[domain]


def _kept(pictures: Sequence[Judged], domain: str) -> list[float]:
    """For each picture that asks for any domain beside this one, the share of those that are as asked."""
    asked = [(picture, [other for other in picture.asked if other != domain]) for picture in pictures]
    return [sum(_agrees(picture, other) for other in others) / len(others) for picture, others in asked if others]
