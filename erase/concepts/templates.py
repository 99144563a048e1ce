"""Prompts from templates: the same for the same seed, balanced, every text once before any is repeated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as rounds
from itertools import islice
from random import Random

from erase.concepts.concept import NEAR, ROLES, Concept, Prompt, derived_from, phrases_of
from erase.concepts.english import fill, slots_of


def prompts(concept: Concept, role: str, count: int, seed: int = 0) -> list[Prompt]:
    """`count` prompts of a role, the same for the same seed, and the first of a longer list.

    Templates take turns, values of a slot come equally often, and no text is repeated before all were used. The list is
    empty only for "implicit" where the concept has no such prompts.
    """
    if role not in ROLES:
        raise ValueError(f'role "{role}" is unknown; allowed: {", ".join(ROLES)}')
    if not _of_role(concept, role):
        return []
    endless = (item for again in rounds() for item in _round(concept, role, f"{seed} {again}"))
    return [_prompt(concept, role, index, *item) for index, item in enumerate(islice(endless, count))]


def captions(concept: Concept, role: str) -> list[str]:
    """Every different text that the prompts of a role can have."""
    return [text for text, _, _ in _round(concept, role, "0 0")]


def _of_role(concept: Concept, role: str) -> tuple[str, ...]:
    templates: tuple[str, ...] = getattr(concept, role.replace("-", "_"))
    return templates


def _round(concept: Concept, role: str, salt: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every different text once, with its template and what fills it."""
    rng = Random(f"{salt} {concept.name} {role}")  # seeded by text: the same on every machine and Python
    templates = list(_of_role(concept, role))
    rng.shuffle(templates)
    extra = {slot for prompt in concept.anchor_prompts for slot in slots_of(prompt)} if role == "forget" else set()
    decks = {slot: rng.sample(words, len(words)) for slot, words in {"concept": concept.words, **concept.vocabulary}.items()}
    # each template begins elsewhere in a deck, evenly spread over it, so that short lists of prompts are balanced too
    starts = {slot: rng.sample(range(len(templates)), len(templates)) for slot in decks}
    turns = []
    for k, template in enumerate(templates):
        slots = sorted(slots_of(template) | extra)
        cuts = [starts[slot][k] * len(decks[slot]) // len(templates) for slot in slots]
        cut_decks = {slot: decks[slot][cut:] + decks[slot][:cut] for slot, cut in zip(slots, cuts, strict=True)}
        turns.append(_texts(template, cut_decks, phrases_of(concept)))
    used: set[str] = set()
    while turns:
        for turn in list(turns):
            item = next((item for item in turn if item[0] not in used), None)
            if item is None:
                turns.remove(turn)
            else:
                used.add(item[0])
                yield item


def _texts(template: str, decks: Mapping[str, Sequence[str]], phrases: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every way to fill a template with one word from each deck, once, in balanced order."""
    for picks in balanced([len(deck) for deck in decks.values()]):
        values = {slot: deck[pick] for (slot, deck), pick in zip(decks.items(), picks, strict=True)}
        yield fill(template, values, phrases), template, values


def balanced(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every combination of indices once, in an order in which each index of each slot comes about equally often from the start.

    Two slots of sizes a and b advance together (t mod a, t mod b), which meets a new pair lcm(a, b) times; then the second is
    shifted by one. More slots: the first ones, in this order, are one slot of size a.
    """
    for t in range(math.prod(sizes)):
        picks, i = [], t
        for k in reversed(range(len(sizes))):
            a, b = math.prod(sizes[:k]), sizes[k]
            picks.append((i + i // math.lcm(a, b)) % b)
            i %= a
        yield tuple(reversed(picks))


def _prompt(concept: Concept, role: str, index: int, text: str, template: str, values: dict[str, str]) -> Prompt:
    own, phrases = slots_of(template) - {"concept"}, phrases_of(concept)
    attributes = {slot.removeprefix(NEAR): value for slot, value in values.items() if slot in own}
    if derived := derived_from(concept):
        source, words = derived
        attributes |= {concept.domain: words[attributes[source]]} if attributes.get(source) in words else {}
    if role in ("forget", "evaluate", "implicit"):
        attributes[concept.domain] = concept.words[0]
    anchors: list[str] = []
    if role == "forget":
        anchors = [fill(template, values | {"concept": anchor}, phrases) for anchor in concept.anchors]
        anchors += [fill(prompt, values, phrases) for prompt in concept.anchor_prompts]
    return Prompt(text, role, index, tuple(anchors), attributes)
