"""How English speaks of an emoji: captions in varied wording, and every word that one can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from erase.demo.emoji.world import BACKGROUNDS, BROAD, OBJECTS, STYLE_DESCRIPTIONS, STYLE_NAMES, Scene

NAMED, DESCRIBED, KEYWORD, KIND, OMITTED = "named", "described", "keyword", "kind", "omitted"
LEADS = ("", "", "", "an emoji of ", "a picture of ", "a drawing of ", "an icon of ")
STYLE_PHRASES = ("in the style of {}", "{} style", "in {} style", "the {} version", "drawn for {}")
BACKGROUND_PHRASES = ("on a {} background", "{} background", "in front of a {} background", "on {}")
NOTHING = ("an emoji", "something", "a thing")  # for an object that is not spoken of

KINDS = {  # the subgroups of CLDR, as one member of each is called
    "animal-mammal": ("a mammal", "an animal"),
    "animal-bird": ("a kind of bird", "an animal"),
    "animal-amphibian": ("an amphibian", "an animal"),
    "animal-reptile": ("a reptile", "an animal"),
    "animal-marine": ("a sea animal", "an animal"),
    "animal-bug": ("an insect", "a creepy-crawly"),
    "plant-flower": ("a flower", "a plant"),
    "plant-other": ("a plant",),
    "food-fruit": ("a fruit", "some food"),
    "food-vegetable": ("a vegetable", "some food"),
    "food-prepared": ("a meal", "some food"),
    "food-asian": ("an asian dish", "some food"),
    "food-sweet": ("a sweet", "some food"),
    "drink": ("a drink",),
    "dishware": ("a piece of tableware",),
    "place-geographic": ("a landscape",),
    "place-building": ("a building",),
    "place-map": ("a map",),
    "place-religious": ("a place of worship", "a building"),
    "place-other": ("a place",),
    "transport-ground": ("a land vehicle", "a vehicle"),
    "transport-water": ("a boat", "a vehicle"),
    "transport-air": ("an aircraft", "a vehicle"),
    "time": ("a clock",),
    "sky & weather": ("weather", "something in the sky"),
    "event": ("a festive thing",),
    "award-medal": ("an award",),
    "sport": ("a piece of sports equipment", "a sport"),
    "game": ("a game",),
    "arts & crafts": ("art",),
    "clothing": ("a piece of clothing", "something to wear"),
    "sound": ("something loud",),
    "music": ("something of music",),
    "musical-instrument": ("a musical instrument",),
    "phone": ("a phone",),
    "computer": ("a computer part", "an electronic device"),
    "light & video": ("a piece of light and video equipment", "an electronic device"),
    "book-paper": ("something to read",),
    "money": ("money",),
    "mail": ("mail",),
    "writing": ("a writing tool", "a tool"),
    "office": ("office supplies",),
    "lock": ("a lock",),
    "tool": ("a tool",),
    "science": ("a scientific instrument",),
    "medical": ("medicine",),
    "household": ("a household object",),
    "other-object": ("an object",),
}
BROAD_PHRASES = {
    "alcohol": ("an alcoholic drink", "alcohol", "booze"),
    "weapon": ("a weapon", "something to fight with"),
    "feline": ("a feline", "a cat of any kind"),
}


def kinds(slug: str) -> tuple[str, ...]:
    """Phrases for the kinds that an object belongs to, from the narrowest."""
    broad = tuple(phrase for name, members in BROAD.items() if slug in members for phrase in BROAD_PHRASES[name])
    return broad + KINDS.get(OBJECTS[slug].subgroup, ())


_ODD = {  # objects that are not what the subgroup of CLDR that they are in is called -> what they are
    **dict.fromkeys(("paw-prints", "spider-web", "spiral-shell"), "trace of an animal"),
    **dict.fromkeys(("snail", "spider", "scorpion"), "creepy-crawly"),
    **dict.fromkeys(("bus-stop", "fuel-pump", "police-car-light", "vertical-traffic-light", "stop-sign"), "roadside object"),
    **dict.fromkeys(("full-moon", "crescent-moon", "sun", "star", "shooting-star"), "light in the sky"),
    **dict.fromkeys(("thermometer", "umbrella", "fire", "droplet", "water-wave"), "thing for any weather"),
    **dict.fromkeys(("mountain-cableway", "satellite"), "flying object"),
    "anchor": "ship gear",
}


def kind_of(slug: str) -> str:
    """The narrowest kind of an object, without an article: "alcoholic drink", "fruit", "musical instrument"."""
    if slug in _ODD:
        return _ODD[slug]
    return re.sub(r"^(?:an?|the) ", "", kinds(slug)[0])


def object_phrase(slug: str, how: str, pick: int = 0) -> str:
    """English for an object, with its article. `pick` chooses among keywords, kinds and the phrases for nothing in particular."""
    thing = OBJECTS[slug]
    if how == DESCRIBED:
        return thing.description
    if how == KEYWORD and thing.keywords:
        return thing.keywords[pick % len(thing.keywords)]
    if how == KIND and kinds(slug):
        return kinds(slug)[pick % len(kinds(slug))]
    return NOTHING[pick % len(NOTHING)] if how in (OMITTED, KIND) else thing.phrase


def phrase(scene: Scene, how: Mapping[str, str], pick: int = 0) -> str:
    """English for a scene. `how` says for object, style and background how each is spoken of; `pick` chooses the wording."""
    lead, pick = LEADS[pick % len(LEADS)], pick // len(LEADS)
    text = object_phrase(scene.object, how.get("object", NAMED), pick)
    if not text.startswith(("an emoji", "something")):
        text = lead + text
    parts = [text]
    if how.get("style", OMITTED) == NAMED:
        parts.append(STYLE_PHRASES[pick % len(STYLE_PHRASES)].format(STYLE_NAMES[scene.style]))
    elif how.get("style") == DESCRIBED:
        parts.append(STYLE_DESCRIPTIONS[scene.style])
    if how.get("background", OMITTED) == NAMED:
        parts.append(BACKGROUND_PHRASES[pick // 5 % len(BACKGROUND_PHRASES)].format(scene.background))
    if len(parts) == 3 and pick // 20 % 2:
        parts[1:] = parts[:0:-1]
    plain = all(part.startswith(("in ", "on ", "as ", "drawn ")) for part in parts[1:])
    return (" " if plain and pick // 40 % 2 else ", ").join(parts)


CHANCES: dict[str, tuple[tuple[str, float], ...]] = {
    "object": ((NAMED, 0.7), (DESCRIBED, 0.14), (KEYWORD, 0.08), (KIND, 0.04), (OMITTED, 0.04)),
    "style": ((NAMED, 0.65), (DESCRIBED, 0.12), (OMITTED, 0.23)),
    "background": ((NAMED, 0.55), (OMITTED, 0.45)),
}


def ways(rng: np.random.Generator) -> dict[str, str]:
    """How each domain is spoken of in a random caption."""
    drawn = {domain: rng.choice(len(choices), p=[share for _, share in choices]) for domain, choices in CHANCES.items()}
    return {domain: CHANCES[domain][pick][0] for domain, pick in drawn.items()}


def wording(rng: np.random.Generator) -> int:
    """A random `pick` for `phrase`."""
    return int(rng.integers(840 * 7))


def caption(scene: Scene, rng: np.random.Generator, **how: str) -> str:
    """A caption in varied English; `how` pins a domain to one way of speaking."""
    return phrase(scene, ways(rng) | how, wording(rng))


def words() -> list[str]:
    """Every word that a caption can hold: the tokenizer's vocabulary is learned from it."""
    texts = [text for thing in OBJECTS.values() for text in (thing.phrase, thing.description, *thing.keywords)]
    texts += [*STYLE_NAMES.values(), *STYLE_DESCRIPTIONS.values(), *BACKGROUNDS, *LEADS, *NOTHING]
    texts += [phrase for phrases in (*KINDS.values(), *BROAD_PHRASES.values()) for phrase in phrases]
    texts += [phrase.format("") for phrase in (*STYLE_PHRASES, *BACKGROUND_PHRASES)]
    texts += ["photo small big red orange purple brown some one two three with without and or that is of the a an"]
    for sign in "-',":
        texts = [text.replace(sign, f" {sign} ") for text in texts]
    return sorted({word for text in texts for word in text.lower().split()})
