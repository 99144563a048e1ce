"""Where the names of points go, so that they hide neither one another nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eval.rendering.svg import text_width

SIZE = 12  # of the font


class Rectangle(NamedTuple):
    """In pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Place(NamedTuple):
    """Where a label begins and its middle line; `shift` is how far it is from the height of its point, `near` its end towards it."""

    left: float
    middle: float
    shift: float
    near: float


def place_label(
    text: str, x: float, y: float, taken: list[Rectangle], frame: tuple[float, float], left_first: bool = False
) -> Place | None:
    """Right of the point or left of it, else ever further above or below; None without room. What it covers is added to `taken`."""
    wide = text_width(text, SIZE)
    for shift in sorted(range(-600, 601, 15), key=abs):
        for left in (x - 10 - wide, x + 10) if left_first else (x + 10, x - 10 - wide):
            box = Rectangle(left, y + shift - 8, left + wide, y + shift + 7)
            inside = box.left >= 2 and box.right <= frame[0] - 2 and box.top >= 2 and box.bottom <= frame[1] - 18
            if inside and not _overlaps(box, taken):
                taken.append(box)
                return Place(left, y + shift, shift, box.left if left > x else box.right)
    return None


def _overlaps(box: Rectangle, others: Sequence[Rectangle]) -> bool:
    return any(box.left < o.right and o.left < box.right and box.top < o.bottom and o.top < box.bottom for o in others)
