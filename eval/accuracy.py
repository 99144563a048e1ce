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

Domains = str | Sequence[str]
"""That of the concept, or those of several."""


@dataclass(frozen=True)
class Judged:
    """A picture: the role of its prompt, what the prompt asks for and what the detector found (both domain -> name).

    `means`, where several concepts are measured together, are the domains of those that the prompt means.
    """

    role: str
    asked: Mapping[str, str]
    found: Mapping[str, str]
    means: tuple[str, ...] = ()


def outcomes(pictures: Sequence[Judged], domains: Domains) -> dict[str, list[float]]:
    """For each measure of MEANINGS its value a picture, 0 to 1, in their order; one without pictures is left out.

    Where a prompt means a concept, asked[domain] is the concept itself. Of several concepts a prompt may mean more than one: none
    of them is to be seen. Elsewhere all of `domains` are to be as asked.
    """
    domains = listed(domains)
    named, implied, others = (_of_role(pictures, role) for role in ("evaluate", "implicit", "evaluate-retain"))
    meant = {(domain, p.asked[domain]) for p in named + implied for domain in p.means or domains}
    values = {
        "ua": [float(_gone(p, domains)) for p in named],
        "ua_implicit": [float(_gone(p, domains)) for p in implied],
        "ira": [float(all(_agrees(p, d) for d in asked)) for p in others if (asked := [d for d in domains if d in p.asked])],
        "cra": _kept(others, domains),
        "attributes_kept": _kept(named + implied, domains),
        "false_alarms": [float(any((d, p.found[d]) in meant for d in domains)) for p in others] if meant else [],
    }
    return {name: found for name, found in values.items() if found}


def metrics(pictures: Sequence[Judged], domains: Domains) -> dict[str, Metric]:
    """The measures of MEANINGS for concepts of `domains`, over all pictures."""
    return {name: share(name, values) for name, values in outcomes(pictures, domains).items()}


def share(name: str, values: Sequence[float]) -> Metric:
    """A measure from its values: of all or nothing with Wilson's interval, of shares with the bootstrap's."""
    return mean_share(values) if name in ("cra", "attributes_kept") else rate([value == 1 for value in values])


def change(name: str, before: Sequence[float], after: Sequence[float]) -> Paired:
    """After against before on the same prompts and seeds, in percentage points."""
    if name in ("cra", "attributes_kept"):
        return paired_means([100 * (b - a) for a, b in zip(before, after, strict=True)], (-100, 100))
    return paired_rates([a == 1 for a in before], [b == 1 for b in after])


def fine(picture: Judged, domains: Domains) -> bool:
    """Whether a picture is as it should be after the erasure: without the concept, or all that was asked for."""
    domains = listed(domains)
    if picture.role != "evaluate-retain":
        return _gone(picture, domains)
    return all(_agrees(picture, other) for other in picture.asked)


def became(pictures: Sequence[Judged], domains: Domains) -> dict[str, int]:
    """What the prompts that name a concept show in its domain: label -> pictures, the most frequent first."""
    counts = Counter(p.found[domain] for p in _of_role(pictures, "evaluate") for domain in p.means or listed(domains))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def judged(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Prompts (role, attributes) with the detector's answer (domain -> a name a picture).

    InputError as of `asked_words`.
    """
    asked = asked_words(rows, labels)
    shown = [{domain: names[i] for domain, names in found.items()} for i in range(len(rows))]
    means = [tuple(row.get("means", ())) for row in rows]
    return [Judged(row["role"], a, s, m) for row, a, s, m in zip(rows, asked, shown, means, strict=True)]


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


def listed(domains: Domains) -> tuple[str, ...]:
    """One domain as a tuple of one."""
    return (domains,) if isinstance(domains, str) else tuple(domains)


def _gone(picture: Judged, domains: Sequence[str]) -> bool:
    return not any(_agrees(picture, domain) for domain in picture.means or domains)


def _agrees(picture: Judged, domain: str) -> bool:
    return picture.found[domain] == picture.asked[domain]


def _kept(pictures: Sequence[Judged], domains: Sequence[str]) -> list[float]:
    """For each picture that asks for any domain beside those meant, the share of those that are as asked."""
    asked = [(picture, [other for other in picture.asked if other not in (picture.means or domains)]) for picture in pictures]
    return [sum(_agrees(picture, other) for other in others) / len(others) for picture, others in asked if others]
