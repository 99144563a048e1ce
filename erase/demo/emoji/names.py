"""What the words of a user mean in the emoji world: objects, styles, kinds of things, and the keywords of CLDR.

A name is what a prompt says ("beer mug", "Classic Noto", "alcoholic drink"); what folders and files are called is its slug.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from erase.demo.emoji import captions
from erase.demo.emoji.captions import BROAD_PHRASES, KINDS
from erase.demo.emoji.world import HERE, OBJECTS, STYLE_NAMES, STYLES

NAME_OF = {slug: thing.name for slug, thing in OBJECTS.items()} | STYLE_NAMES
SLUG_OF = {name: slug for slug, name in NAME_OF.items()}
DOMAINS: dict[str, tuple[str, ...]] = {
    "object": tuple(thing.name for thing in OBJECTS.values()),
    "style": tuple(STYLE_NAMES[style] for style in STYLES),
}
KIND_OF = {thing.name: captions.kind_of(slug) for slug, thing in OBJECTS.items()}  # the narrowest kind of each object
_VAGUE = ("place", "object", "household object")  # kinds of the captions that are no kind that a user would erase
_ALIASES = {  # what people also call a kind
    "dessert": "sweet",
    "watercraft": "boat",
    "vehicle on water": "boat",
    "vehicles on water": "boat",
    "water vehicle": "boat",
    "birds": "kind of bird",
    "clothes": "piece of clothing",
    "clothing": "piece of clothing",
    "sports equipment": "piece of sports equipment",
    "tableware": "piece of tableware",
    "asian food": "asian dish",
    "big cat": "feline",
    "cat of any kind": "feline",
}


@dataclass(frozen=True)
class Kind:
    """A broad concept: `words` are what it is called, as prompts have it after "a" ("alcoholic drink"), `members` slugs of objects."""

    slug: str
    words: tuple[str, ...]
    phrases: tuple[str, ...]
    members: tuple[str, ...]


def bare_name(phrase: str) -> str:
    """A phrase without its article: "an alcoholic drink" -> "alcoholic drink"."""
    first, _, rest = phrase.partition(" ")
    return rest if first in ("a", "an", "the", "some") and rest else phrase


@cache
def kinds() -> dict[str, Kind]:
    """Name of a kind -> the kind. Each object is of one: of a broad concept of the world, or of its subgroup in CLDR."""
    by_name: dict[str, Kind] = {}
    subgroups = {KINDS[thing.subgroup][0] for thing in OBJECTS.values()}
    for slug, candidates in [*BROAD_PHRASES.items(), *((bare_name(phrase).replace(" ", "-"), (phrase,)) for phrase in subgroups)]:
        phrases = tuple(phrase for phrase in candidates if not phrase.startswith("something"))
        words = tuple(bare_name(phrase) for phrase in phrases)
        members = tuple(member for member, thing in OBJECTS.items() if words and KIND_OF[thing.name] == words[0])
        if len(members) > 1 and words[0] not in _VAGUE:
            by_name |= dict.fromkeys({slug, *words}, Kind(slug, words, phrases, members))
    return {name: by_name[name] for name in sorted(by_name)}


@cache
def _wide() -> dict[str, list[str]]:
    """Kinds of several kinds -> these: "vehicle" -> aircraft, boat, land vehicle."""
    narrower: dict[str, list[str]] = {}
    for thing in OBJECTS.values():
        for phrase in KINDS[thing.subgroup][1:]:
            if (kind := KIND_OF[thing.name]) in kinds() and not phrase.startswith("something"):
                narrower.setdefault(bare_name(phrase), []).append(kind)
    return {word: sorted(set(names)) for word, names in narrower.items() if word not in (*kinds(), *_VAGUE)}


@cache
def phrases() -> dict[str, str]:
    """Names that do not take "a" -> how they are said: "sun": "the sun", "sake": "sake"."""
    phrase_of = {thing.name: thing.phrase for thing in OBJECTS.values()}
    phrase_of |= {word: phrase for kind in kinds().values() for word, phrase in zip(kind.words, kind.phrases, strict=True)}
    return {name: phrase for name, phrase in phrase_of.items() if not phrase.startswith(("a ", "an "))}


@cache
def _shared() -> dict[str, list[str]]:
    """Keywords of CLDR that several objects have -> their slugs."""
    shared: dict[str, list[str]] = json.loads((HERE / "shared-keywords.json").read_text(encoding="utf-8"))
    return shared


def meanings(text: str) -> list[str]:
    """The names that a user's word may stand for: one, none, or several where it is a keyword or a part of several.

    In this order, each in the singular or plural: a name, a slug or a style ("twemoji style"), or one or more kinds of things; a keyword
    of one object; a word of names and a keyword of several objects.
    """
    for word in _forms(text):
        if name := _named(word):
            return [name]
        if kind := kinds().get(_ALIASES.get(word, word)):
            return [kind.words[0]]
        if word in _wide():
            return _wide()[word]
    for word in _forms(text):
        if owners := [thing.name for thing in OBJECTS.values() if word in thing.keywords]:
            return owners
        parts = [name for name in NAME_OF.values() if f" {word} " in f" {name.lower()} "]
        if several := list(dict.fromkeys([*parts, *(NAME_OF[slug] for slug in _shared().get(word, ()))])):
            return several
    return []


def _forms(text: str) -> list[str]:
    """A user's word without articles and capitals, as it is and in the singular."""
    plain = bare_name(" ".join(text.lower().replace("_", " ").split()))
    plain = plain.removeprefix("in the style of ").removesuffix(" style").removesuffix(" emoji")
    endings = (("ies", "y"), ("s", ""), ("es", ""))
    singular = [plain.removesuffix(end) + instead for end, instead in endings if plain.endswith(end) and len(plain) > len(end) + 2]
    return [plain, *singular]


def _named(word: str) -> str | None:
    """The object or the style of a name or a slug."""
    names: Mapping[str, str] = {name.lower(): name for name in NAME_OF.values()}
    return names.get(word) or names.get(word.replace("-", " ")) or NAME_OF.get(word.replace(" ", "-"))


def spellings() -> list[str]:
    """Every word that `meanings` understands, for what was misspelt: names, slugs, kinds and keywords."""
    keywords = [word for thing in OBJECTS.values() for word in thing.keywords]
    slugs = [member.replace("-", " ") for member in NAME_OF]
    return list(dict.fromkeys([*NAME_OF.values(), *slugs, *kinds(), *_wide(), *_ALIASES, *keywords, *_shared()]))


def names() -> dict[str, tuple[str, ...]]:
    """Domain -> the concepts in it: objects, styles and kinds."""
    return {**DOMAINS, "kind": tuple(dict.fromkeys(kind.words[0] for kind in kinds().values()))}


def words() -> list[str]:
    """Every word of the captions."""
    return captions.words()


def slug(name: str) -> str:
    """What files and folders of a concept are called: "glass of wine" -> wine-glass, "Classic Noto" -> classic-noto."""
    if name in kinds() and name not in SLUG_OF:
        return kinds()[name].slug
    return name.lower().replace(" ", "-") if name in DOMAINS["style"] else SLUG_OF[name]
