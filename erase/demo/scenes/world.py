"""The second embedded world, `scenes`: pictures of several things, so that damage to what stands beside a concept shows.

A picture is one thing, two or three alike, or two different ones side by side or one above the other. A thing is a shape in a
colour; some pictures are cluttered with grey specks. Like `world`, it knows nothing of networks and is the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erase.demo.shapes import world
from erase.demo.shapes.world import IMPLICIT, IMPLIED, INSIDE, NAMED, OMITTED, RGB, SIZE

SHAPES = tuple(shape for shape in world.SHAPES if shape != "cross")  # the plural of each is its name and an s
COLOURS = world.COLOURS
BACKGROUNDS = ("white", "black")
DOMAINS: dict[str, tuple[str, ...]] = {"shape": SHAPES, "colour": COLOURS}
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COUNTS = {"two": 2, "three": 3}
SPECK = {"white": 150, "black": 120}  # the grey of specks on each background
MARGIN = 2.0  # pixels between a thing and the border, and between two things


@dataclass(frozen=True)
class Thing:
    """A shape in a colour, at (x, y) from the upper left corner, in pixels."""

    shape: str
    colour: str
    x: float = 32.0
    y: float = 32.0
    radius: float = 12.0
    shade: float = 1.0


@dataclass(frozen=True)
class Scene:
    """One picture, completely: `render` is a function of it. Specks are (x, y, radius)."""

    things: tuple[Thing, ...]
    background: str
    specks: tuple[tuple[float, float, float], ...] = ()

    @property
    def alike(self) -> bool:
        """Whether all things have the same shape and colour, as the single one has."""
        return len({(thing.shape, thing.colour) for thing in self.things}) == 1


class Placed(Protocol):
    """Anything with a place in an image, in pixels from the upper left corner."""

    @property
    def x(self) -> float: ...

    @property
    def y(self) -> float: ...


def relation(first: Placed, second: Placed) -> str:
    """Where the first is, seen from the second: along the axis on which they lie further apart."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


# --- scenes ---------------------------------------------------------------------------------------------------------


def sample_scene(rng: np.random.Generator, without: str | None = None) -> Scene:
    """A random scene; `without` is a concept that must not appear."""
    shapes, colours = ([m for m in members if m != without] for members in (SHAPES, COLOURS))
    kinds = [(str(rng.choice(shapes)), str(rng.choice(colours))) for _ in range(2)]
    kind = rng.random()
    if kind < 0.2:
        things = _apart(rng, 1, kinds[0], (14.0, 18.0))
    elif kind < 0.45:
        things = _apart(rng, 2, kinds[0], (12.5, 14.0)) if rng.random() < 0.5 else _apart(rng, 3, kinds[0], (11.0, 12.0))
    else:
        while kinds[0] == kinds[1]:
            kinds[1] = str(rng.choice(shapes)), str(rng.choice(colours))
        things = _beside(rng, kinds)
    specks = _specks(rng, things) if rng.random() < 0.25 else ()
    return Scene(things, str(rng.choice(BACKGROUNDS)), specks)


def _shade(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.88, 1.05))


def _apart(rng: np.random.Generator, count: int, kind: tuple[str, str], radii: tuple[float, float]) -> tuple[Thing, ...]:
    """Things of one kind, anywhere, none touching another."""
    radius, shade = float(rng.uniform(*radii)), _shade(rng)
    low, high = radius + MARGIN, SIZE - radius - MARGIN
    while True:
        places = rng.uniform(low, high, (count, 2))
        if all(np.hypot(*(a - b)) > 2 * radius + MARGIN for a, b in combinations(places, 2)):
            return tuple(Thing(*kind, float(x), float(y), radius, shade) for x, y in places)


def _beside(rng: np.random.Generator, kinds: Sequence[tuple[str, str]]) -> tuple[Thing, ...]:
    """Two things in a row or in a column, in random order, the second at most 8 pixels out of line."""
    radii = rng.uniform(12.5, 14.0, 2)
    apart = rng.uniform(radii.sum() + MARGIN, SIZE - radii.sum() - 2 * MARGIN)
    start = rng.uniform(radii[0] + MARGIN, SIZE - MARGIN - radii[1] - apart)
    low, high = radii.max() + MARGIN, SIZE - radii.max() - MARGIN
    across = rng.uniform(low, high)
    aside = np.clip(across + rng.uniform(-8, 8), low, high)
    places = [(start, across), (start + apart, aside)]
    if rng.random() < 0.5:
        places = [(y, x) for x, y in places]
    if rng.random() < 0.5:
        places, radii = places[::-1], radii[::-1]
    return tuple(
        Thing(shape, colour, float(x), float(y), float(radius), _shade(rng))
        for (shape, colour), (x, y), radius in zip(kinds, places, radii, strict=True)
    )


def _specks(rng: np.random.Generator, things: Sequence[Thing]) -> tuple[tuple[float, float, float], ...]:
    """Up to five, each clear of the things and of the others."""
    specks: list[tuple[float, float, float]] = []
    taken = [(thing.x, thing.y, 1.1 * thing.radius) for thing in things]
    for x, y, radius in rng.uniform((5, 5, 2.6), (SIZE - 5, SIZE - 5, 3.4), (12, 3)).tolist():
        if len(specks) < 5 and all(np.hypot(x - a, y - b) > r + radius + MARGIN for a, b, r in taken):
            specks.append((x, y, radius))
            taken.append((x, y, radius))
    return tuple(specks)


def scenes(count: int, seed: int, without: str | None = None) -> Iterator[Scene]:
    """`count` random scenes from a seed."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield sample_scene(rng, without)


# --- pictures -------------------------------------------------------------------------------------------------------


def render(scene: Scene, supersample: int = 3) -> NDArray[np.uint8]:
    """Draw a scene: (64, 64, 3) uint8, antialiased by `supersample` points a pixel side."""
    n = SIZE * supersample
    picture = np.tile(np.array(RGB[scene.background], dtype=np.float32), (n, n, 1))
    axis = ((np.arange(n) + 0.5) / supersample).astype(np.float32)
    grey = np.full(3, SPECK[scene.background], dtype=np.float32)
    painted = [("circle", (x, y, radius), grey) for x, y, radius in scene.specks]
    painted += [(t.shape, (t.x, t.y, t.radius), np.clip(np.array(RGB[t.colour]) * t.shade, 0, 255)) for t in scene.things]
    for shape, (x, y, radius), fill in painted:
        columns, rows = (slice(*np.searchsorted(axis, (at - 1.2 * radius, at + 1.2 * radius))) for at in (x, y))
        u, v = np.meshgrid((axis[columns] - x) / radius, (y - axis[rows]) / radius)
        picture[rows, columns][INSIDE[shape](u, v)] = fill
    drawn: NDArray[np.uint8] = np.round(picture.reshape(SIZE, supersample, SIZE, supersample, 3).mean(axis=(1, 3))).astype(np.uint8)
    return drawn


# --- captions -------------------------------------------------------------------------------------------------------

LEADS = ("", "a picture of ", "a drawing of ")


def name(thing: Thing, how: Mapping[str, str], implicit: int = 0) -> str:
    """English for a thing. `how` says whether shape and colour are named, implied or omitted; an omitted shape is "shape"."""
    colour, noun = "", "shape"
    after = f" in {IMPLICIT[thing.colour][implicit]}" if how.get("colour") == IMPLIED else ""
    if how.get("colour") == NAMED:
        colour = f"{thing.colour} "
    if how.get("shape") == NAMED:
        noun = thing.shape
    elif how.get("shape") == IMPLIED:
        noun = IMPLICIT[thing.shape][implicit].removeprefix("a ")
    return f"a {colour}{noun}{after}"


def phrase(
    scene: Scene,
    hows: Sequence[Mapping[str, str]],
    related: bool = True,
    background: bool = False,
    clutter: bool = False,
    lead: int = 0,
    implicit: int = 0,
) -> str:
    """English for a scene: one `how` a thing (see `name`; things that are alike share the first), then what else is spoken of."""
    if len(scene.things) == 1:
        text = name(scene.things[0], hows[0], implicit)
    elif scene.alike:
        number = next(word for word, count in COUNTS.items() if count == len(scene.things))
        text = f"{number} {name(scene.things[0], hows[0]).removeprefix('a ')}s"
    else:
        first, second = (name(thing, how, implicit) for thing, how in zip(scene.things, hows, strict=True))
        text = f"{first} {relation(*scene.things) if related else 'and'} {second}"
    words = [*(["cluttered"] if clutter and scene.specks else []), *([scene.background] if background else [])]
    return LEADS[lead] + text + (f" on a {' '.join(words)} background" if words else "")


HOWS: tuple[tuple[str, str, float], ...] = (  # how shape and colour are spoken of, and how often
    (NAMED, NAMED, 0.66),
    (NAMED, OMITTED, 0.12),
    (OMITTED, NAMED, 0.06),
    (IMPLIED, NAMED, 0.08),
    (NAMED, IMPLIED, 0.08),
)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in varied English: of two things either comes first, and at most one of all attributes is implied."""
    return speak(scene, rng)[0]


Said = tuple[tuple[Thing, ...], list[dict[str, str]], bool]


def speak(scene: Scene, rng: np.random.Generator) -> tuple[str, Said]:
    """A caption, and what it says: the things in the order of mention, how each is named, and whether their relation is."""
    if len(scene.things) == 2 and rng.random() < 0.5:
        scene = replace(scene, things=scene.things[::-1])
    picks = rng.choice(len(HOWS), len(scene.things), p=[share for *_, share in HOWS])
    hows = [{"shape": HOWS[pick][0], "colour": HOWS[pick][1]} for pick in picks]
    if len(scene.things) > 1:
        for how in hows if scene.alike else hows[1:]:
            how.update({domain: NAMED for domain, wording in how.items() if wording == IMPLIED})
    if not scene.alike and rng.random() < 0.5:
        hows.reverse()
    related = bool(rng.random() < 0.75)
    text = phrase(
        scene,
        hows,
        related=related,
        background=bool(rng.random() < 0.5),
        clutter=bool(rng.random() < 0.6),
        lead=int(rng.integers(len(LEADS))),
        implicit=int(rng.integers(2)),
    )
    return text, (scene.things, hows, related)


def plainly(scene: Scene, rng: np.random.Generator) -> tuple[str, Said]:
    """The same with everything named, and the relation."""
    if len(scene.things) == 2 and rng.random() < 0.5:
        scene = replace(scene, things=scene.things[::-1])
    hows = [dict.fromkeys(DOMAINS, NAMED) for _ in scene.things]
    text = phrase(scene, hows, background=bool(rng.random() < 0.3), lead=int(rng.integers(len(LEADS))))
    return text, (scene.things, hows, True)


def words() -> list[str]:
    """Every word that a caption can hold, and all of `world`: the tokenizer's vocabulary is made from it."""
    text = " ".join([*RELATIONS, *COUNTS, *(f"{shape}s" for shape in (*SHAPES, "shape")), "cluttered clear many few beside next to"])
    return sorted({*world.words(), *text.split()})
