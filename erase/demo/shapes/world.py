"""The embedded world: what there is to draw, how it is drawn, and how English speaks about it.

A picture is one shape, in one colour, in one style, on one background. Everything else (position, size, phase and
period of the pattern, shade) varies freely. The world knows nothing of networks: it is the ground truth against which
a text-to-image model, and the erasure of one of its concepts, can be measured without doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SIZE = 64
SHAPES = ("circle", "ring", "square", "diamond", "triangle", "star", "cross", "heart")
COLOURS = ("red", "blue", "green", "yellow", "purple")
STYLES = ("solid", "striped", "dotted", "checkered")
BACKGROUNDS = ("white", "grey", "black")
DOMAINS: dict[str, tuple[str, ...]] = {"shape": SHAPES, "colour": COLOURS, "style": STYLES}

RGB = {
    "red": (214, 40, 40),
    "blue": (40, 90, 222),
    "green": (40, 160, 70),
    "yellow": (236, 192, 24),
    "purple": (142, 58, 182),
    "white": (248, 248, 248),
    "grey": (150, 150, 150),
    "black": (18, 18, 18),
}

# What means the concept without naming it. Two for each, so that one can be held out where that is wanted.
IMPLICIT: dict[str, tuple[str, str]] = {
    "circle": ("a perfectly round shape", "a shape like a full moon"),
    "ring": ("a shape with a hole in it", "a shape like a doughnut"),
    "square": ("a shape like a box", "a shape with four equal upright sides"),
    "diamond": ("a shape like a kite", "a four-sided shape standing on its tip"),
    "triangle": ("a three-cornered shape", "a shape like a mountain"),
    "star": ("a five-pointed shape", "a shape that twinkles at night"),
    "cross": ("a shape with four arms", "a shape like a plus sign"),
    "heart": ("a shape that stands for love", "a shape like a valentine"),
    "red": ("the colour of blood", "the colour of fire"),
    "blue": ("the colour of the sky", "the colour of the sea"),
    "green": ("the colour of grass", "the colour of leaves"),
    "yellow": ("the colour of a lemon", "the colour of the sun"),
    "purple": ("the colour of a plum", "the colour of grapes"),
    "solid": ("without any pattern", "filled evenly"),
    "striped": ("with lines across it", "like a zebra"),
    "dotted": ("covered in small spots", "like a ladybird"),
    "checkered": ("like a chess board", "made of little tiles"),
}


def domain_of(concept: str) -> str | None:
    """The domain a concept belongs to ("star" -> "shape"), None if this world has no such concept."""
    return next((domain for domain, members in DOMAINS.items() if concept in members), None)


@dataclass(frozen=True)
class Scene:
    """One picture, completely: `render` is a function of it. Lengths in pixels, phase as a share of the period."""

    shape: str
    colour: str
    style: str
    background: str
    x: float = 32.0
    y: float = 32.0
    radius: float = 20.0
    period: float = 11.0
    phase: tuple[float, float] = (0.0, 0.0)
    shade: float = 1.0

    def attribute(self, domain: str) -> str:
        return str(getattr(self, domain))


def sample_scene(rng: np.random.Generator, without: str | None = None, **fixed: str) -> Scene:
    """A random scene; `fixed` pins attributes, `without` is a concept that must not appear."""

    def pick(domain: str, members: Sequence[str]) -> str:
        if domain in fixed:
            return fixed[domain]
        return str(rng.choice([m for m in members if m != without]))

    radius = float(rng.uniform(18, 25))
    low, high = radius + 2, SIZE - radius - 2
    return Scene(
        shape=pick("shape", SHAPES),
        colour=pick("colour", COLOURS),
        style=pick("style", STYLES),
        background=pick("background", BACKGROUNDS),
        x=float(rng.uniform(low, high)),
        y=float(rng.uniform(low, high)),
        radius=radius,
        period=float(rng.uniform(10, 12)),
        phase=(float(rng.random()), float(rng.random())),
        shade=float(rng.uniform(0.86, 1.06)),
    )


# --- pictures -------------------------------------------------------------------------------------------------------
# Each shape is a predicate over coordinates in units of the radius, y upwards.

Field = NDArray[np.floating]
Mask = NDArray[np.bool_]


def _star(u: Field, v: Field) -> Mask:
    """Five points: fold the plane into one wedge, then one straight edge from tip to notch."""
    angle = np.mod(np.arctan2(u, v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    r = np.hypot(u, v)
    a, b = r * np.cos(angle), np.abs(r * np.sin(angle))
    notch = 0.46
    tip = np.array([1.08, 0.0])
    inner = notch * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = inner - tip
    inside: Mask = (a - tip[0]) * edge[1] - (b - tip[1]) * edge[0] < 0
    return inside


INSIDE: dict[str, Callable[[Field, Field], Mask]] = {
    "circle": lambda u, v: u**2 + v**2 < 0.9,
    "ring": lambda u, v: (u**2 + v**2 < 1.0) & (u**2 + v**2 > 0.21),
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.84,
    "diamond": lambda u, v: np.abs(u) + np.abs(v) < 1.1,
    "triangle": lambda u, v: (v > -0.75) & (v < 0.95 - 1.7 * np.abs(u)),
    "star": _star,
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.33) & (np.maximum(np.abs(u), np.abs(v)) < 0.97),
    "heart": lambda u, v: ((1.12 * u) ** 2 + (1.12 * v + 0.12) ** 2 - 0.8) ** 3 < (1.12 * u) ** 2 * (1.12 * v + 0.12) ** 3 * 1.4,
}


def _pattern(style: str, x: Field, y: Field) -> Field:
    """Share of the lighter tint at each point; x and y in periods."""
    if style == "solid":
        return np.zeros_like(x)
    fx, fy = np.mod(x, 1.0), np.mod(y, 1.0)
    if style == "striped":
        return (fy < 0.45).astype(float)
    if style == "dotted":
        return ((fx - 0.5) ** 2 + (fy - 0.5) ** 2 < 0.085).astype(float)
    return ((fx < 0.5) ^ (fy < 0.5)).astype(float)


def render(scene: Scene, supersample: int = 3) -> NDArray[np.uint8]:
    """Draw a scene: (64, 64, 3) uint8, antialiased by `supersample` points a pixel side."""
    n = SIZE * supersample
    axis = ((np.arange(n) + 0.5) / supersample).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = INSIDE[scene.shape]((x - scene.x) / scene.radius, (scene.y - y) / scene.radius)
    tint = _pattern(scene.style, x / scene.period + scene.phase[0], y / scene.period + scene.phase[1])[..., None]
    base = np.clip(np.array(RGB[scene.colour]) * scene.shade, 0, 255)
    fill = base * (1 - tint) + (0.4 * base + 0.6 * 255) * tint
    picture = np.where(inside[..., None], fill, np.array(RGB[scene.background], dtype=float))
    picture = picture.reshape(SIZE, supersample, SIZE, supersample, 3).mean(axis=(1, 3))
    drawn: NDArray[np.uint8] = np.round(picture).astype(np.uint8)
    return drawn


# --- captions -------------------------------------------------------------------------------------------------------

NAMED, IMPLIED, OMITTED = "named", "implied", "omitted"
LEADS = ("a ", "a picture of a ", "", "a drawing of a ")
ORDERS = 12  # 4 leads, 3 layouts, 2 orders of the adjectives


def phrase(scene: Scene, how: Mapping[str, str], order: int = 0, implicit: int = 0) -> str:
    """English for a scene. `how` says for each domain (and background) whether it is named, implied or omitted.

    An omitted shape becomes the generic word "shape"; an omitted colour or style is not spoken of at all, so every
    domain has wording from which an anchor can be made. `order` (0 to 11) chooses lead, layout and word order,
    `implicit` (0 or 1) which of the two descriptions.
    """
    layout, lead = order % 3, LEADS[order % 4]
    adjectives = [scene.attribute(d) for d in ("style", "colour") if how.get(d) == NAMED]
    descriptions = [IMPLICIT[scene.attribute(d)][implicit] for d in ("style", "colour") if how.get(d) == IMPLIED]
    descriptions = [f"in {text}" if text.startswith("the colour") else text for text in descriptions]
    if order // 3 % 2:
        adjectives.reverse()
    noun = "shape"
    if how.get("shape") == NAMED:
        noun = scene.shape
    elif how.get("shape") == IMPLIED:
        noun = IMPLICIT[scene.shape][implicit].removeprefix("a ")
    named_background = f"{scene.background} background" if how.get("background") == NAMED else ""
    if layout == 0:  # a striped red star in ... on a white background
        text = " ".join([*adjectives, noun, *descriptions])
        return lead + text + (f" on a {named_background}" if named_background else "")
    if layout == 1:  # a star, striped, red, white background
        return lead + ", ".join(filter(None, [noun, *adjectives, *descriptions, named_background]))
    text = noun + (f" that is {' and '.join(adjectives)}" if adjectives else "")  # a star that is striped and red
    text = " ".join([text, *descriptions])
    return lead + text + (f" in front of a {named_background}" if named_background else "")


def caption(scene: Scene, rng: np.random.Generator, **how: str) -> str:
    """A caption in varied English; `how` pins a domain to named, implied or omitted."""
    chances = {"shape": (0.68, 0.22), "colour": (0.66, 0.16), "style": (0.68, 0.16), "background": (0.5, 0.0)}
    drawn = {}
    for domain, (named, implied) in chances.items():
        p = rng.random()
        drawn[domain] = NAMED if p < named else IMPLIED if p < named + implied else OMITTED
    return phrase(scene, drawn | how, order=int(rng.integers(ORDERS)), implicit=int(rng.integers(2)))


def words() -> list[str]:
    """Every word that a caption can hold: the tokenizer's vocabulary is made from it."""
    text = " ".join([*SHAPES, *COLOURS, *STYLES, *BACKGROUNDS, *(t for pair in IMPLICIT.values() for t in pair)])
    text += " a an the one some picture drawing photo of front in on with and or that is background"
    text += " shape thing object colour coloured pattern patterned plain style big small"
    return sorted(set(text.replace("-", " - ").split()))


def scenes(count: int, seed: int, without: str | None = None, **fixed: str) -> Iterator[Scene]:
    """`count` random scenes from a seed."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield sample_scene(rng, without, **fixed)


def neighbours(scene: Scene, domain: str) -> list[Scene]:
    """The same picture with each other member of a domain."""
    return [replace(scene, **{domain: m}) for m in DOMAINS[domain] if m != scene.attribute(domain)]  # type: ignore[arg-type]
