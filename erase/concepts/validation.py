"""Checks of a concept that involve several of its keys."""

from __future__ import annotations

import re
from functools import partial

from erase.concepts.concept import DETECTORS, JUDGES, Concept, deciding, domains_in, names_of, templates_of, words_fit
from erase.concepts.english import SLOT, hint, slots_of
from erase.errors import InputError


def check(concept: Concept) -> None:
    """InputError, with the key, unless the keys of a concept are consistent."""
    fail = partial(_fail, concept)
    if not re.fullmatch(r"[^\W_]+(-[^\W_]+)*", concept.name) or concept.name != concept.name.lower():
        fail("name", f'"{concept.name}" is not a name; use small letters, digits and "-", it becomes part of a folder\'s name')
    if concept.detector not in DETECTORS:
        fail("detector", f'"{concept.detector}" is unknown{hint(concept.detector, DETECTORS)}; allowed: {", ".join(DETECTORS)}')
    if concept.anchors and concept.anchor_prompts:
        fail("anchor", "has both concepts and prompts; keep one: words that take the concept's place, or whole prompts")
    _check_slots(concept)
    check_meaning(concept)


def _fail(concept: Concept, key: str, what: str) -> None:
    raise InputError(f'{concept.source or concept.name}: the key "{key}": {what}')


def _check_slots(concept: Concept) -> None:
    known = [*concept.vocabulary, "concept"]
    used = {"concept"}
    for key, templates in templates_of(concept).items():
        for template in templates:
            if re.search(r"[{}]", re.sub(SLOT, "", template)):
                _fail(concept, key, f'"{template}" has a loose brace; a slot is {{word}} in small letters')
            for slot in slots_of(template):
                if slot not in known:
                    have = ", ".join(known)
                    _fail(concept, key, f'"{template}" has a slot {{{slot}}} without a vocabulary{hint(slot, known)}; there are: {have}')
                used.add(slot)
    for slot in known:
        if slot not in used or (slot == "concept" and slot in concept.vocabulary):
            why = "the concept's words belong in the key words" if slot == "concept" else "no prompt has this slot"
            _fail(concept, f"vocabulary.{slot}", f"{why}; remove it")


def check_meaning(concept: Concept) -> None:
    """Prompts that name the concept have a slot for it and none for other members of its domain; retain prompts do not name it."""
    names, templates, decides = names_of(concept), templates_of(concept), deciding(concept)
    for key in ("forget.prompts", "evaluate.prompts", "evaluate.implicit"):
        for template in templates[key]:
            if concept.domain in domains_in(template):
                replacement = "{concept}" if key != "evaluate.implicit" else "a description"
                _fail(concept, key, f'"{template}" means other members of its domain; write {replacement} instead of {{{concept.domain}}}')
    for key in ("anchor.prompts", "retain.prompts", "evaluate.implicit", "evaluate.retain"):
        for template in templates[key]:
            slots = slots_of(template)
            named = names.search(template) or "concept" in slots
            if named or any(names.search(word) for slot in slots for word in concept.vocabulary[slot]):
                _fail(concept, key, f'"{template}" names the concept ({", ".join(concept.words)}); these prompts must not')
            # a model is free to draw the concept where its domain is left open
            if concept.detector in JUDGES and "retain" in key and decides not in domains_in(template):
                _fail(concept, key, f'"{template}" leaves the {concept.domain} open, so it may show the concept; add {{{decides}}}')
    if not concept.anchor_prompts and not words_fit(concept):
        odd = next(template for template in concept.forget if "concept" not in slots_of(template))
        _fail(concept, "forget.prompts", f'"{odd}" has no {{concept}}, so an anchor has no place in it; add it, or give anchor.prompts')
    for anchor in concept.anchors:
        if names.search(anchor):
            _fail(concept, "anchor.concepts", f'"{anchor}" names the concept itself; an anchor is what should be drawn instead')
    for template in sorted({*concept.forget, *concept.retain} & {*concept.evaluate, *concept.implicit, *concept.evaluate_retain}):
        _fail(concept, "evaluate", f'"{template}" is also a training prompt; evaluation needs other wording')
