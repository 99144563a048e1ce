"""What a prompt is to the erased concept: whether it names it, describes it or is to be kept, and what else it asks for.

Prompts of the concept's own lists are known exactly. Of others, the words of an embedded world tell; where nothing tells, nothing is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from erase.concepts import Concept, names_of, prompts
from erase.concepts.english import SLOT
from erase.concepts.record import concept_of
from erase.demo.worlds import KNOWN_MODELS, KnownModel
from ui.web.drawing.order import Ask

HELD_OUT = ("evaluate", "implicit", "evaluate-retain")  # roles of prompts that no erasure has seen
ROLE_OF = {"forget": "evaluate", "retain": "evaluate-retain"}  # roles of the others, as these are judged
KNOWN = 64  # prompts of each role of a concept that are known by their text
EACH = 3  # prompts of each role in a held-out set

Record = Mapping[str, Any]


def lines_of(text: str) -> list[str]:
    """The prompts of a field, one a line, each once."""
    lines = (" ".join(line.split()) for line in str(text or "").splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def loaded(record: Record) -> Concept:
    """A concept from options.json, or from dataclasses.asdict."""
    return concept_of(json.loads(json.dumps(dict(record))))


def held_out(record: Record | None, each: int = EACH, roles: Sequence[str] = HELD_OUT, seed: int = 0) -> list[str]:
    """The first prompts of each role that the concept is measured by."""
    return [] if record is None else [p.text for role in roles for p in prompts(loaded(record), role, each, seed)]


def asked(text: str, record: Record | None, world: KnownModel | None) -> Ask:
    """A prompt with its role and what it asks for, as far as these are known. `world`: that of the model, if it is an embedded one."""
    if record is None:
        return Ask(text)
    concept = loaded(record)
    if known := _own(concept).get(text):
        return known
    words = words_in(text, world) if world else {}
    if names_of(concept).search(text):
        return Ask(text, "evaluate", {**_single(words), concept.domain: concept.words[0]})
    if any(pattern.fullmatch(text) for pattern in _descriptions(concept)):
        others = {domain: word for domain, word in _single(words).items() if domain != concept.domain}
        return Ask(text, "implicit", {**others, concept.domain: concept.words[0]})
    if world is None or concept.model != world.name or not words:
        return Ask(text)
    certain = all(len(found) == 1 for found in words.values())  # of "a red star beside a blue ring" the words do not tell what is red
    return Ask(text, "evaluate-retain", _single(words) if certain else {})


def is_held_out(ask: Ask, record: Record) -> bool:
    """Whether a prompt is of the lists that a concept is measured by, which no erasure has seen."""
    concept = loaded(record)
    return any(ask.text == prompt.text for role in HELD_OUT for prompt in prompts(concept, role, KNOWN))


@lru_cache(32)
def _own(concept: Concept) -> dict[str, Ask]:
    """The first prompts of each of its lists, by text."""
    roles = ("retain", "forget", "evaluate-retain", "implicit", "evaluate")  # the last one counts where a text is in two
    every = ((role, prompt) for role in roles for prompt in prompts(concept, role, KNOWN))
    return {prompt.text: Ask(prompt.text, ROLE_OF.get(role, role), prompt.attributes) for role, prompt in every}


@lru_cache(32)
def _descriptions(concept: Concept) -> list[re.Pattern[str]]:
    """What the prompts that describe the concept look like, whatever fills their slots."""
    patterns = []
    for template in concept.implicit:
        parts, end = [], 0
        for slot in SLOT.finditer(template):
            parts += [re.escape(template[end : slot.start()]), ".+?"]
            end = slot.end()
        patterns.append(re.compile("".join([*parts, re.escape(template[end:])]), re.IGNORECASE))
    return patterns


# --- the words of a world -----------------------------------------------------------------------------------------------


def words_in(text: str, world: KnownModel) -> dict[str, list[str]]:
    """Domain -> the members of it that a text names, in the singular or the plural; the longest name counts ("hot dog", not "dog")."""
    found: dict[str, list[str]] = {}
    for match in _names(world.name).finditer(text):
        for domain, members in world.domains.items():
            lower = {member.lower(): member for member in members}
            word = match[1].lower()
            if word in lower and lower[word] not in found.setdefault(domain, []):
                found[domain].append(lower[word])
    for domain, (source, kinds) in world.derived.items():
        if any(found.get(source, ())):
            found[domain] = list(dict.fromkeys(kinds[word] for word in found[source] if word in kinds))
    counts = [word for word in getattr(world.world, "COUNTS", ()) if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    return {domain: words for domain, words in {**found, "count": counts}.items() if words}


def _single(words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The domains of which a text names one member."""
    return {domain: found[0] for domain, found in words.items() if len(found) == 1}


@lru_cache(8)
def _names(world: str) -> re.Pattern[str]:
    every = sorted(KNOWN_MODELS[world].concepts, key=len, reverse=True)
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, every))})(?:e?s|'s)?(?!\w)", re.IGNORECASE)
