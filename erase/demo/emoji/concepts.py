"""Concepts of the emoji world: every object, style and kind of things as the content of a concept file.

`python -m erase.demo.emoji.concepts` writes those that are shipped to prompts/emoji. Two openings of the captions train ("a", "an emoji
of a"), three evaluate ("a picture of a", "a drawing of a", "an icon of a"), with other wording of style and background, so that no
evaluation prompt is a training prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any

from erase.demo.emoji.names import DOMAINS, NAME_OF, SLUG_OF, Kind, kinds, slug
from erase.demo.emoji.world import BACKGROUNDS, OBJECTS, STYLE_DESCRIPTIONS
from erase.files import written

NEAREST = 12  # members of its subgroup that a concept's retain prompts have again and again
ANCHORS: dict[str, tuple[str, ...]] = {  # what takes the place of the shipped concepts; for all others it is searched for
    "cat": ("dog", "fox", "rabbit"),
    "pizza": ("hamburger", "taco", "burrito"),
    "wine-glass": ("glass of milk", "cup of tea", "cup of coffee"),
    "church": ("castle", "school", "house"),
    "guitar": ("violin", "saxophone", "drum"),
    "rose": ("tulip", "daisy", "sunflower"),
    "airplane": ("helicopter", "rocket", "bullet train"),
    "cigarette": ("pencil", "crayon", "candle"),
    "twemoji": ("EmojiOne", "Noto", "Classic Noto"),
    "noto": ("EmojiOne", "Twemoji", "Classic Noto"),
    "flat-fluent": ("Twemoji", "EmojiOne", "Noto"),
    "alcohol": ("glass of milk", "cup of tea", "cup of coffee"),
    "weapon": ("hammer", "wrench", "scissors"),
    "feline": ("dog", "fox", "rabbit"),
}
SHIPPED = tuple(ANCHORS)
UNSEEN = (  # for the bench: nothing was chosen by looking at them
    *("beer mug", "syringe", "butterfly", "hot dog", "bicycle", "castle"),
    *("Classic Noto", "Fluent", "EmojiOne"),
    *("musical instrument", "boat", "sweet"),
)

_STYLED = "in the style of {style}"
_TRAINING = (  # what follows the thing
    "",
    " " + _STYLED,
    ", {style} style",
    ", the {style} version",
    f", {_STYLED}, on a {{background}} background",
    f" {_STYLED} on a {{background}} background",
    ", {style} style, {background} background",
    ", the {style} version, {background} background",
    " on a {background} background",
    ", {background} background",
)
_EVALUATION = (  # an opening, and what follows the thing
    ("a picture of", " in {style} style on {background}"),
    ("a drawing of", ", drawn for {style}, in front of a {background} background"),
    ("an icon of", ", on {background}, in {style} style"),
    ("a drawing of", " in {style} style in front of a {background} background"),
    ("a picture of", ", drawn for {style}, on {background}"),
    ("an icon of", ", in front of a {background} background, drawn for {style}"),
)
_STYLE_EVALUATION = (  # what follows the description of a style
    ("a picture of", " {style} on {background}"),
    ("a drawing of", ", {style}, in front of a {background} background"),
    ("an icon of", ", on {background}, {style}"),
)


def neighbours(members: Sequence[str], count: int = NEAREST) -> list[str]:
    """The objects most like these (slugs): the rest of their subgroups, then of their groups, each from the nearest in CLDR's order."""
    order = list(OBJECTS)
    places = [order.index(member) for member in members]

    def apart(other: str) -> tuple[int, int]:
        thing, own = OBJECTS[other], [OBJECTS[member] for member in members]
        level = 0 if thing.subgroup in {one.subgroup for one in own} else 1 if thing.group in {one.group for one in own} else 2
        return level, min(abs(order.index(other) - place) for place in places)

    return sorted((other for other in order if other not in members), key=apart)[:count]


def content(name: str) -> dict[str, Any]:
    """The concept file of an object, a style or a kind of things, by its name in prompts, as TOML would be read."""
    if name in DOMAINS["style"]:
        raw = _style(name)
    elif name in SLUG_OF:
        raw = _objects(name, _words(name), (SLUG_OF[name],))
    else:
        raw = _kind(kinds()[name])
    if anchors := ANCHORS.get(raw["name"]):
        raw = {**{key: raw[key] for key in _HEAD}, "forget": raw["forget"], "anchor": {"concepts": list(anchors)}, **raw}
    return raw


_HEAD = ("name", "domain", "model", "detector", "about", "words")


def _words(name: str) -> tuple[str, ...]:
    """The name of an object, and that of CLDR where captions have it too: "slice of pizza" and "pizza"."""
    thing = OBJECTS[SLUG_OF[name]]
    cldr = thing.slug.replace("-", " ")
    spoken = cldr in thing.keywords or set(cldr.split()) < set(name.split())
    return (name, cldr) if spoken and cldr not in SLUG_OF else (name,)


def _kind(kind: Kind) -> dict[str, Any]:
    names = [NAME_OF[member] for member in kind.members]
    raw = _objects(kind.words[0], (*kind.words, *(name for name in names if name not in kind.words)), kind.members)
    return raw | {"name": kind.slug, "domain": "kind", "about": f"every {kind.words[0]} of the emoji world"}


def _objects(name: str, words: Sequence[str], members: Sequence[str]) -> dict[str, Any]:
    """`members` are the slugs of what is to be forgotten."""
    near = [NAME_OF[other] for other in neighbours(members)]
    retain = [*_training("{near_object}", "{style}"), *_training("{object}", "{style}")]
    slots = (("object",), ("object", "near_object"))
    kept = [f"{opening} a {{{slot}}}{rest}" for i, (opening, rest) in enumerate(_EVALUATION) for slot in slots[i % 2]]
    described = _described(words, members)
    evaluate: dict[str, Any] = {"prompts": [f"{opening} a {{concept}}{rest}" for opening, rest in _EVALUATION]}
    if described:
        frames = [_EVALUATION[i % len(_EVALUATION)] for i in range(max(len(described), 3))]
        evaluate["implicit"] = [f"{opening} {described[i % len(described)]}{rest}" for i, (opening, rest) in enumerate(frames)]
    return {
        **_head(slug(name), "object", words, f"the {name} of the emoji world"),
        "forget": {"prompts": _training("{concept}", "{style}")},
        "retain": {"prompts": retain},
        "evaluate": {**evaluate, "retain": kept},
        "vocabulary": {
            "object": [other for other in DOMAINS["object"] if SLUG_OF[other] not in members],
            "near_object": near,
            "style": list(DOMAINS["style"]),
            "background": list(BACKGROUNDS),
        },
    }


def _style(name: str) -> dict[str, Any]:
    description = STYLE_DESCRIPTIONS[SLUG_OF[name]]
    train = [text for text in _TRAINING if "{style}" in text]
    return {
        **_head(slug(name), "style", (name,), f"the style {name} of the emoji world"),
        "forget": {"prompts": _training("{object}", "{concept}", train)},
        "retain": {"prompts": _training("{object}", "{style}", train)},
        "evaluate": {
            "prompts": [f"{opening} a {{object}}{rest}".replace("{style}", "{concept}") for opening, rest in _EVALUATION],
            "implicit": [f"{opening} a {{object}}{rest.replace('{style}', description)}" for opening, rest in _STYLE_EVALUATION],
            "retain": [f"{opening} a {{object}}{rest}" for opening, rest in _EVALUATION],
        },
        "vocabulary": {
            "object": list(DOMAINS["object"]),
            "style": [other for other in DOMAINS["style"] if other != name],
            "background": list(BACKGROUNDS),
        },
    }


def _head(name: str, domain: str, words: Sequence[str], about: str) -> dict[str, Any]:
    return dict(zip(_HEAD, (name, domain, "emoji", "emoji", about, list(words)), strict=True))


def _training(thing: str, style: str, rests: Iterable[str] = _TRAINING) -> list[str]:
    """Prompts that train, the two openings in turn."""
    return [f"{('a', 'an emoji of a')[i % 2]} {thing}{rest}".replace("{style}", style) for i, rest in enumerate(rests)]


def _described(words: Sequence[str], members: Sequence[str]) -> list[str]:
    """Descriptions and keywords of the members that hold none of the words, at least every second one a description."""
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})(?:e?s|'s)?\b", re.IGNORECASE)
    descriptions = [text for member in members if not named.search(text := OBJECTS[member].description)]
    keywords = [text for member in members for text in OBJECTS[member].keywords if not named.search(text)]
    if not descriptions:
        return keywords
    pairs = zip_longest(cycle(descriptions), keywords) if len(keywords) > len(descriptions) else zip_longest(descriptions, keywords)
    return [text for pair in islice(pairs, max(len(keywords), len(descriptions))) for text in pair if text]


# --- files ------------------------------------------------------------------------------------------------------------


def toml(raw: dict[str, Any]) -> str:
    """A concept file's text."""
    lines = ["# Written by `python -m erase.demo.emoji.concepts`; ../star.toml explains the keys.", ""]
    lines += [f"{key} = {_value(raw[key])}" for key in _HEAD]
    for section, keys in raw.items():
        if isinstance(keys, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def _value(value: str | list[str]) -> str:
    """A text or a list of texts in TOML, a list that is too long for a line wrapped at 120 characters."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    items = [json.dumps(item, ensure_ascii=False) for item in value]
    if len(line := f"[{', '.join(items)}]") <= 120:
        return line
    lines = ["  "]
    for item in items:
        if len(lines[-1]) > 2 and len(lines[-1]) + len(item) > 120:
            lines.append("  ")
        lines[-1] += f"{item}, "
    return "\n".join(["[", *(line.rstrip() for line in lines), "]"])


def write_files(folder: Path) -> None:
    """The shipped concepts and the list of the unseen ones."""
    for name in [*NAME_OF.values(), *(kind.words[0] for kind in kinds().values())]:
        if slug(name) in SHIPPED:
            with written(folder / f"{slug(name)}.toml") as file:
                file.write_text(toml(content(name)), encoding="utf-8")
    with written(folder / "unseen.txt") as file:
        head = "# Concepts of the emoji world for the bench: nothing is chosen by looking at them. Written by erase.demo.emoji.concepts."
        file.write_text("\n".join([head, *UNSEEN]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_files(Path(__file__).parents[3] / "prompts" / "emoji")
