"""What a detector of several domains says about an erasure: is the concept gone, and does the rest still come as asked?

Pure functions of what prompts asked for and what a detector found; knows no files, networks or particular detector.
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
    "ua": "the concept, named, is not drawn",
    "ua_implicit": "the concept, described, is not drawn",
    "ira": "the rest of its domain is drawn as asked",
    "cra": "other domains are as asked, other prompts",
    "attributes_kept": "other domains are as asked, its prompts",
    "false_alarms": "the concept is seen, other prompts",
    "companion_kept": "what stands beside the concept is there, its prompts",
    "place_kept": "and stands on the side asked for, its prompts",
    "things_kept": "everything asked for is there, other prompts",
    "count_kept": "as many things as asked for, other prompts",
    "relation_kept": "they stand as asked for, other prompts",
}
TOGETHER = ("companion_kept", "place_kept", "things_kept", "count_kept", "relation_kept")  # of pictures of several things

Domains = str | Sequence[str]
"""That of the concept, or those of several."""


@dataclass(frozen=True)
class Judged:
    """A picture: the role of its prompt, what the prompt asks for and what the detector found (both domain -> name).

    `means`, where several concepts are measured together, are the domains of those that the prompt means. `anywhere` is every
    (domain, name) in a picture of several things: a concept is gone if it is neither found nor anywhere.
    """

    role: str
    asked: Mapping[str, str]
    found: Mapping[str, str]
    means: tuple[str, ...] = ()
    anywhere: frozenset[tuple[str, str]] = frozenset()


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
        "false_alarms": [float(not meant.isdisjoint({*((d, p.found[d]) for d in domains), *p.anywhere})) for p in others] if meant else [],
        **_together(named + implied, others),
    }
    return {name: found for name, found in values.items() if found}


def _together(forgotten: Sequence[Judged], others: Sequence[Judged]) -> dict[str, list[float]]:
    """Of pictures of several things: whether what was asked for beside the concept is there, and whether other prompts came out whole."""

    def kept(pictures: Sequence[Judged], part: Callable[[str], bool]) -> list[float]:
        wanted = [(p, [domain for domain in p.asked if part(domain)]) for p in pictures if "count" in p.asked]
        return [float(all(_agrees(p, domain) for domain in domains)) for p, domains in wanted if domains]

    beside = [p for p in forgotten if any(domain.startswith(things.OTHER) for domain in p.asked)]
    return {
        "companion_kept": kept(beside, lambda domain: domain.startswith(things.OTHER)),
        "place_kept": kept([p for p in beside if "relation" in p.asked], lambda domain: domain.startswith((things.OTHER, "relation"))),
        "things_kept": kept(others, lambda domain: domain not in ("count", "relation")),
        "count_kept": kept(others, lambda domain: domain == "count"),
        "relation_kept": kept(others, lambda domain: domain == "relation"),
    }


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


def judged_by(rows: Sequence[Mapping[str, Any]], found: Sequence[Sequence[Detection]], labels: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Prompts with what a detector found in their pictures, be it one label a domain or a list of things."""
    if not things.lists_things(labels):
        return judged(rows, most_likely(found, labels), labels)
    pictures = []
    for row, words, detections in zip(rows, asked_words(rows, labels), found, strict=True):
        listed_things, asked = [things.thing(one) for one in detections], things.asked(words)
        seen = things.found(asked, listed_things)
        pictures.append(Judged(row["role"], asked, seen, tuple(row.get("means", ())), things.present(listed_things)))
    return pictures


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


def shows(picture: Judged, domain: str) -> bool:
    """Whether what was asked for in a domain is found, or is anywhere in a picture of several things."""
    return _agrees(picture, domain) or (domain, picture.asked[domain]) in picture.anywhere


def _gone(picture: Judged, domains: Sequence[str]) -> bool:
    return not any(shows(picture, domain) for domain in picture.means or domains)


def _agrees(picture: Judged, domain: str) -> bool:
    return picture.found[domain] == picture.asked[domain]


def _kept(pictures: Sequence[Judged], domains: Sequence[str]) -> list[float]:
    """For each picture that asks for any domain beside those meant, the share of those that are as asked."""
    asked = [(picture, [other for other in picture.asked if other not in (picture.means or domains)]) for picture in pictures]
    return [sum(_agrees(picture, other) for other in others) / len(others) for picture, others in asked if others]
