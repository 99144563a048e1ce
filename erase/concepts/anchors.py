"""Anchors as words: how they enter prompts, which anchor replaces which concept, and generic candidates to test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from erase.concepts.concept import NEAR, Concept, deciding, names_of, phrases_of, templates_of, words_fit
from erase.concepts.english import SLOT, bare, naming, plural, slots_of, swap
from erase.concepts.templates import prompts
from erase.concepts.validation import check_meaning
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError

_NEUTRAL = {
    "shape": ("shape", "thing", "object"),
    "colour": ("coloured", "plain"),
    "style": ("plain", "ordinary", "realistic"),
    "artist": ("a painter", "an unknown painter", "an amateur painter"),
    "person": ("person", "man", "woman"),
}
_FUNCTION_WORDS = """
    a an the this that these those some any no every each all both many few more most other another such same
    i you he she it we they me him her us them my your his its our their who whom whose which what
    and or but nor so yet if because while although than as like not only just very too also again then there here
    in on at by for with without from to into onto of off over under above below between among through during before after behind
    beside besides near next around about against across along upon within toward towards up down out inside outside front back
    is are was were be been being am do does did done has have had having can could will would shall should may might must
    one two three four five six seven eight nine ten first second when where why how
"""


def neutral_candidates(concept: Concept) -> list[str]:
    """Generic words for what the concept is, to be tested as anchors beside its neighbours. They fit its templates' grammar."""
    word = concept.words[0]
    things: tuple[str, ...] = ("thing", "object")
    if plural(word):
        things = ("things", "objects")
    elif word[:1].isupper():
        things = ("a person", "a place", "an object")
    elif bare(word):
        things = ("a thing", "an object")
    candidates = _NEUTRAL.get(concept.domain, things)
    if concept.model in KNOWN_MODELS:
        known = KNOWN_MODELS[concept.model].words()
        candidates = tuple(c for c in candidates if c in known)
    return [c for c in candidates if not names_of(concept).search(c)]


def members_of_domain(concept: Concept) -> list[str]:
    """The other members of the concept's domain that its vocabulary names, those that are most like it first.

    None whose name has the concept's in it: "clinking beer mugs" are another thing than a beer mug, but they show one.
    """
    domain, vocabulary = deciding(concept), concept.vocabulary
    members = [*vocabulary.get(f"{NEAR}{domain}", ()), *vocabulary.get(domain, ()), *vocabulary.get(concept.domain, ())]
    inside = naming(concept.words)
    return [word for word in dict.fromkeys(members) if not inside.search(word)]


def never_anchors(concept: Concept) -> frozenset[str]:
    """Single words that draw nothing in the concept's place, however near a text encoder finds them.

    Articles, prepositions and other function words; the words of the templates ("picture", "background"); what stands in the other
    slots, such as the backgrounds; and the concept's own words.
    """
    own = {concept.domain, deciding(concept)}
    others = [word for slot, words in concept.vocabulary.items() if slot.removeprefix(NEAR) not in own for word in words]
    templates = [SLOT.sub(" ", text) for texts in templates_of(concept).values() for text in texts]
    texts = (_FUNCTION_WORDS, *others, *templates, *concept.words)
    return frozenset(part for text in texts for part in re.findall(r"\w+", text.lower()))


def with_anchors(concept: Concept, anchors: Sequence[str]) -> Concept:
    """The concept with these anchors: words if every forget prompt has a place for them ({concept}), whole prompts otherwise."""
    anchors = tuple(" ".join(anchor.split()) for anchor in anchors)
    if not anchors or not all(anchors):
        raise InputError(f"{concept.title}: an anchor is empty; give a word or a prompt that should take the concept's place")
    fits = words_fit(concept)
    changed = replace(concept, anchors=anchors if fits else (), anchor_prompts=() if fits else anchors)
    check_meaning(changed)
    return changed


def chosen_anchor(concept: Concept, text: str, anchors: Sequence[str]) -> str:
    """Which of several anchors takes the place of a prompt: it follows from a word of the prompt, so that a network can learn it.

    With all of them in turn, a prompt would learn their mean, and the mean of three colours is not a colour. The word is that from
    the longest list of the vocabulary beside the concept's own domain; without such lists the choice follows from the whole text.
    """
    others = [words for slot, words in concept.vocabulary.items() if slot.removeprefix(NEAR) not in (concept.domain, deciding(concept))]
    if not others:
        return anchors[crc32(text.encode()) % len(anchors)]
    words = max(others, key=len)
    position = next((i for i, word in enumerate(words) if naming([word]).search(text)), 0)
    return anchors[position % len(anchors)]


def anchors_for(concept: Concept, caption: str) -> list[str]:
    """What may take the place of a user's own caption: the caption with each anchor for the concept's words.

    A caption that does not name the concept, and anchors that are whole prompts, leave nothing to replace: then the anchors alone.
    """
    named = names_of(concept)
    if concept.anchors and named.search(caption):
        return [swap(caption, named, anchor, phrases_of(concept)) for anchor in concept.anchors]
    return list(concept.anchors) or [p for p in concept.anchor_prompts if not slots_of(p)] or list(prompts(concept, "forget", 1)[0].anchors)
