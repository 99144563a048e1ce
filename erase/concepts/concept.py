"""What a concept is, and what a prompt is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from erase.concepts.english import naming, slots_of, slug
from erase.demo.worlds import KNOWN_MODELS

JUDGES = tuple(dict.fromkeys(known.detector for known in KNOWN_MODELS.values()))  # they recognise every domain of their worlds
DETECTORS = (*JUDGES, "nudenet", "imagenet", "clip", "q16")
NEAR = "near_"  # before a domain: the slot of those of its members that are most like the concept
ROLES = ("forget", "retain", "evaluate", "implicit", "evaluate-retain")


@dataclass(frozen=True)
class Concept:
    """A concept to erase, and its prompts as templates: {slot} is replaced by a word of `vocabulary`, {concept} by one of `words`.

    `anchors` are words that replace the concept in the forget prompts, `anchor_prompts` whole prompts that replace a forget prompt;
    with neither, candidates are proposed and tested. `settings` recommends values for fields of a method. The slot near_DOMAIN
    holds the members of the domain that are most like the concept; the domain's own slot may hold them too.
    """

    name: str
    domain: str
    model: str
    detector: str
    words: tuple[str, ...]
    forget: tuple[str, ...]
    retain: tuple[str, ...]
    evaluate: tuple[str, ...]
    evaluate_retain: tuple[str, ...]
    implicit: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    anchor_prompts: tuple[str, ...] = ()
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    about: str = ""
    source: str = ""

    @property
    def title(self) -> str:
        """The name as people write it: the word that it stands for ("beer mug" for beer-mug), else the name itself."""
        return next((word for word in self.words if slug(word) == self.name), self.name)


@dataclass(frozen=True)
class Prompt:
    """One line of text for the model, and what it should show.

    `anchors` are the prompts that may take a forget prompt's place. `attributes` says what was filled in (slot -> value);
    where the prompt means the concept, by name or implicitly, also domain -> concept. `seed` only where a CSV file gives it.
    """

    text: str
    role: str
    index: int
    anchors: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: int | None = None


def names_of(*concepts: Concept) -> re.Pattern[str]:
    """Finds the concepts' words in a text. In the prompts of an embedded world a longer name of the world is another thing: "hot dog"."""
    worlds = tuple((concept.model, deciding(concept)) for concept in concepts if concept.model in KNOWN_MODELS)
    return _pattern(tuple(word for concept in concepts for word in concept.words), worlds)


@lru_cache(64)
def _pattern(words: tuple[str, ...], worlds: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """`worlds`: a known model and one of its domains each."""
    return naming(words, [name for model, domain in worlds for name in KNOWN_MODELS[model].domains.get(domain, ())])


def phrases_of(concept: Concept) -> Mapping[str, str]:
    """Words of an embedded world that do not take "a" -> how they are said instead."""
    known = KNOWN_MODELS.get(concept.model)
    return known.phrases if known else {}


def derived_from(concept: Concept) -> tuple[str, Mapping[str, str]] | None:
    """Where another domain decides the concept's, as an object its kind: the other, and its words -> the words of the concept's."""
    known = KNOWN_MODELS.get(concept.model)
    return known.derived.get(concept.domain) if known else None


def deciding(concept: Concept) -> str:
    """The domain whose words decide whether a prompt means the concept: its own, or the one that its own is derived from."""
    derived = derived_from(concept)
    return derived[0] if derived else concept.domain


def domains_in(template: str) -> set[str]:
    """The slots of a template, those of a domain's nearest members (`near_shape`) as the domain's own."""
    return {slot.removeprefix(NEAR) for slot in slots_of(template)}


def words_fit(concept: Concept) -> bool:
    return all("concept" in slots_of(template) for template in concept.forget)


def templates_of(concept: Concept) -> dict[str, tuple[str, ...]]:
    """Key in the file -> its templates."""
    return {
        "forget.prompts": concept.forget,
        "anchor.prompts": concept.anchor_prompts,
        "retain.prompts": concept.retain,
        "evaluate.prompts": concept.evaluate,
        "evaluate.implicit": concept.implicit,
        "evaluate.retain": concept.evaluate_retain,
    }
