"""How near the things of the emoji world are to a concept, by the groups of CLDR and by who drew them."""

from __future__ import annotations

from collections.abc import Callable

from erase.demo.emoji import captions, world
from erase.demo.emoji.names import NAME_OF

RINGS = ("same kind", "same subgroup", "same group", "other groups", "same designers", "other designers")
DESIGNERS = {"noto": "Google", "noto-v1": "Google", "fluent-emoji": "Microsoft", "fluent-emoji-flat": "Microsoft"}


def rings(domain: str, word: str) -> dict[str, str]:
    """Label of each other object (or style) -> how near it is to the concept `word` of a domain, one of RINGS, nearest first.

    Labels are those of the judge ("beer mug", "Flat Fluent"). The members of a kind are not near it, they are it.
    """
    if domain == "style":
        own = DESIGNERS.get(world.slug_of(word) or "")
        near = {style: own is not None and DESIGNERS.get(style) == own for style in world.STYLES if NAME_OF[style] != word}
        return {NAME_OF[style]: RINGS[4 if same else 5] for style, same in near.items()}
    inside = [slug for slug in world.OBJECTS if word in (NAME_OF[slug], captions.kind_of(slug) if domain == "kind" else None)]
    others = [slug for slug in world.OBJECTS if slug not in inside]
    steps: tuple[Callable[[str], str], ...] = (
        captions.kind_of,
        lambda slug: world.OBJECTS[slug].subgroup,
        lambda slug: world.OBJECTS[slug].group,
    )
    own_values = [{step(slug) for slug in inside} for step in steps]
    ring_of = {}
    for slug in others:
        depth = next((k for k, (step, own) in enumerate(zip(steps, own_values, strict=True)) if step(slug) in own), len(steps))
        ring_of[NAME_OF[slug]] = RINGS[depth]
    return ring_of
