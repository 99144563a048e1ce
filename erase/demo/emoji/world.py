"""The emoji world: everyday things, each drawn by several professional designers, on a plain background.

What there is to draw, how English names it, and where a glyph may lie. `captions` speaks about it, `pictures` draws it, and
`data` fetches the drawings. This file knows neither networks nor pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

SIZE = 64  # pixels
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Thing:
    """An object: `phrase` is its name with an article where it has one, `description` calls it up without the name."""

    slug: str
    phrase: str
    description: str
    emoji: str = ""
    group: str = ""
    subgroup: str = ""
    keywords: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.phrase.removeprefix("a ").removeprefix("an ").removeprefix("the ")


def _read_objects() -> dict[str, Thing]:
    """objects.txt, completed by cldr.json."""
    cldr = HERE / "cldr.json"
    known = json.loads(cldr.read_text(encoding="utf-8")) if cldr.exists() else {}
    rows = (line.split(" | ") for line in (HERE / "objects.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    things = {}
    for slug, phrase, description in rows:
        entry = dict(known.get(slug, {}))
        entry["keywords"] = tuple(entry.get("keywords", ()))
        things[slug] = Thing(slug, phrase, description, **entry)
    return things


OBJECTS = _read_objects()
STYLES = ("noto", "noto-v1", "twemoji", "fluent-emoji", "fluent-emoji-flat", "emojione")
STYLE_NAMES = {
    "noto": "Noto",
    "noto-v1": "Classic Noto",
    "twemoji": "Twemoji",
    "fluent-emoji": "Fluent",
    "fluent-emoji-flat": "Flat Fluent",
    "emojione": "EmojiOne",
}
STYLE_DESCRIPTIONS = {  # what calls a style up without its name
    "noto": "as on a new Android phone",
    "noto-v1": "as on an old Android phone",
    "twemoji": "as Twitter has it",
    "fluent-emoji": "as Microsoft has it, with soft shading",
    "fluent-emoji-flat": "as Microsoft has it, without shading",
    "emojione": "as JoyPixels once had it",
}
BACKGROUNDS = ("white", "grey", "black", "yellow", "pink", "blue", "green")
RGB = {
    "white": (250, 250, 250),
    "grey": (150, 150, 150),
    "black": (20, 20, 20),
    "yellow": (245, 205, 60),
    "pink": (245, 160, 190),
    "blue": (120, 190, 245),
    "green": (130, 205, 120),
}
DOMAINS: dict[str, tuple[str, ...]] = {"object": tuple(OBJECTS), "style": STYLES}
BROAD: dict[str, tuple[str, ...]] = {  # what people call a kind, and its members; the subgroups of CLDR are in captions.KINDS
    "alcohol": (
        *("beer-mug", "clinking-beer-mugs", "wine-glass", "clinking-glasses", "bottle-with-popping-cork"),
        *("cocktail-glass", "tropical-drink", "tumbler-glass", "sake"),
    ),
    "weapon": ("dagger", "crossed-swords", "bomb", "bow-and-arrow", "kitchen-knife"),
    "feline": ("cat", "lion", "tiger", "leopard"),
}
MIRRORED = ("Animals & Nature", "Food & Drink")  # groups in which left and right do not matter


def domain_of(concept: str) -> str | None:
    """The domain that a concept belongs to ("tiger" -> "object"), None if this world has no such concept."""
    return next((domain for domain, members in DOMAINS.items() if concept in members), None)


def slug_of(text: str) -> str | None:
    """The member that a user's word stands for: a slug, a name or a style's name, in any case; None if there is none."""
    plain = text.strip().lower()
    names = {thing.name.lower(): slug for slug, thing in OBJECTS.items()} | {name.lower(): style for style, name in STYLE_NAMES.items()}
    dashed = plain.replace(" ", "-")
    return dashed if domain_of(dashed) else names.get(plain) or names.get(plain.replace("-", " "))


# --- which pairs are left out of training -----------------------------------------------------------------------------


@cache
def held_out() -> frozenset[tuple[str, str]]:
    """(object, style) pairs that training never shows, 6 % of all, at most one an object: they measure composition."""
    rng = np.random.default_rng(20)
    count = round(0.06 * len(OBJECTS) * len(STYLES))
    objects = rng.permutation(list(OBJECTS))[:count]
    styles = np.resize(rng.permutation(STYLES), count)
    return frozenset((str(slug), str(style)) for slug, style in zip(objects, styles, strict=True))


def pairs(without: str | None = None, unseen: bool = False) -> list[tuple[str, str]]:
    """The (object, style) pairs of training, or with `unseen` those left out of it; `without` is a concept that must not appear."""
    every = [(slug, style) for slug in OBJECTS for style in STYLES if without not in (slug, style)]
    return [pair for pair in every if (pair in held_out()) == unseen]


# --- scenes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """One picture, completely. `x`, `y`: the glyph's centre, `size`: its side, in pixels; `angle` in degrees."""

    object: str
    style: str
    background: str
    x: float = SIZE / 2
    y: float = SIZE / 2
    size: float = 54.0
    angle: float = 0.0
    mirrored: bool = False

    def attribute(self, domain: str) -> str:
        return str(getattr(self, domain))


def sample_scene(rng: np.random.Generator, choices: Sequence[tuple[str, str]], background: str | None = None) -> Scene:
    """A random scene of one of the (object, style) pairs in `choices`, near the middle: designers put theirs there, too."""
    slug, style = choices[int(rng.integers(len(choices)))]
    size = float(rng.uniform(50, 57))
    x, y = (SIZE / 2 + rng.uniform(-2, 2, 2)).tolist()
    return Scene(
        object=slug,
        style=style,
        background=background or str(rng.choice(BACKGROUNDS)),
        x=x,
        y=y,
        size=size,
        angle=float(rng.uniform(-4, 4)),
        mirrored=bool(OBJECTS[slug].group in MIRRORED and rng.random() < 0.05),
    )


def scenes(count: int, seed: int, without: str | None = None, unseen: bool = False) -> Iterator[Scene]:
    """`count` random scenes from a seed, of the training pairs or of those left out of it."""
    rng, choices = np.random.default_rng(seed), pairs(without, unseen)
    for _ in range(count):
        yield sample_scene(rng, choices)
