"""What a picture of several things shows of what its prompt asked for: the thing itself, its companion, how many, and where.

A detector of things lists them, each "colour shape" with its box. A prompt asks for one thing or several alike (shape, colour,
count) and perhaps for another beside it (other_shape, other_colour; relation, or opposite, said from the other's side). Things
are taken for what was asked in the way that agrees best. Pure functions; knows no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from erase.demo.scenes.world import COUNTS, DOMAINS, OPPOSITE, RELATIONS, relation
from eval.vision.detector import Detection

OTHER = "other_"
NOTHING = "nothing"
NUMBERS = ("none", "one", "two", "three")
MORE = "more"
LABELS: dict[str, list[str]] = {
    **{domain: [*members, NOTHING] for domain, members in DOMAINS.items()},
    **{f"{OTHER}{domain}": [*members, NOTHING] for domain, members in DOMAINS.items()},
    "relation": [*RELATIONS, NOTHING],
    "opposite": list(RELATIONS),
    "count": [*NUMBERS, MORE],
}


@dataclass(frozen=True)
class DetectedThing:
    """A detection with its label split and the middle of its box."""

    shape: str
    colour: str
    x: float
    y: float


def lists_things(labels: Mapping[str, Sequence[str]]) -> bool:
    """Whether a detector with these labels lists things, rather than naming one label a domain."""
    return labels.keys() >= LABELS.keys()


def thing(detection: Detection) -> DetectedThing:
    """Of a label "red star" and its box."""
    colour, _, shape = detection.label.partition(" ")
    x, y, width, height = detection.box or (0.0, 0.0, 0.0, 0.0)
    return DetectedThing(shape, colour, x + width / 2, y + height / 2)


def present(things: Sequence[DetectedThing]) -> frozenset[tuple[str, str]]:
    """Every (domain, name) that anything in the picture has."""
    return frozenset((domain, getattr(one, domain)) for one in things for domain in DOMAINS)


def requested(attributes: Mapping[str, str]) -> dict[str, str]:
    """What a prompt asks for, with the total number of things, and the relation from the point of view of the thing itself."""
    request = {slot: word for slot, word in attributes.items() if slot in LABELS and slot != "opposite"}
    if "opposite" in attributes:
        request["relation"] = OPPOSITE[attributes["opposite"]]
    number = COUNTS.get(attributes.get("count", ""), 1) + bool(_of_companion(request))
    return request | {"count": NUMBERS[number]}


def answer(request: Mapping[str, str], things: Sequence[DetectedThing]) -> dict[str, str]:
    """What the image shows for each part of a request: domain -> name."""
    names = dict.fromkeys(LABELS, NOTHING) | {"count": NUMBERS[len(things)] if len(things) < len(NUMBERS) else MORE}
    if not things:
        return names
    if not _of_companion(request):
        return names | {domain: _common([getattr(one, domain) for one in things], request.get(domain)) for domain in DOMAINS}
    own = {domain: request[domain] for domain in DOMAINS if domain in request}
    itself, companion = _matched(own, _of_companion(request), request.get("relation"), things)
    for prefix, one in (("", itself), (OTHER, companion)):
        if one is not None:
            names |= {f"{prefix}{domain}": getattr(one, domain) for domain in DOMAINS}
    if itself is not None and companion is not None:
        names["relation"] = relation(itself, companion)
    return names


def _of_companion(request: Mapping[str, str]) -> dict[str, str]:
    return {slot.removeprefix(OTHER): word for slot, word in request.items() if slot.startswith(OTHER)}


def _matched(
    own: Mapping[str, str], companion: Mapping[str, str], side: str | None, things: Sequence[DetectedThing]
) -> tuple[DetectedThing | None, DetectedThing | None]:
    """The thing itself and its companion: the pair that has most of the attributes, and of such pairs one on the right side.

    A single thing is whichever of the two it has more of.
    """
    if len(things) == 1:
        one = things[0]
        return (one, None) if _agreement(own, one) >= _agreement(companion, one) else (None, one)

    def fit(pair: tuple[DetectedThing, DetectedThing]) -> tuple[int, bool]:
        return _agreement(own, pair[0]) + _agreement(companion, pair[1]), side == relation(*pair)

    return max(permutations(things, 2), key=fit)


def _agreement(attributes: Mapping[str, str], one: DetectedThing) -> int:
    return sum(getattr(one, domain) == word for domain, word in attributes.items())


def _common(names: Sequence[str], expected: str | None) -> str:
    """What all of them are, or else the most frequent of those that are not as expected."""
    odd = [name for name in names if name != expected]
    return Counter(odd).most_common(1)[0][0] if odd else names[0]
