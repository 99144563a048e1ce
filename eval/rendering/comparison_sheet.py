"""comparison.png: the same prompts and seeds, original above erased, one panel for each kind of prompt.

Pillow only. Knows nothing of runs: it is given pictures and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from erase.files import written
from erase.run import disk_errors

SIDE = 144  # about this many pixels for a picture's longer side
MARGIN, GAP, ROW_GAP, GUTTER = 32, 14, 8, 78  # around the sheet; between columns; between rows; for the names of the rows
LINES = 6  # of a prompt; the rest is cut off
PAPER, INK, MUTED, EDGE = "white", "#1f2328", "#59636e", "#d4d9df"
ROWS = ("original", "erased")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Column:
    """One prompt and seed, before and after."""

    prompt: str
    original: Image.Image
    erased: Image.Image


@dataclass(frozen=True)
class Group:
    """Columns under one heading, marked with one colour."""

    heading: str
    colour: str
    columns: Sequence[Column]


def comparison(path: Path, title: str, note: str, groups: Sequence[Group]) -> None:
    """Draw the sheet and save it as PNG. `note` is a line of small print below the title."""
    with disk_errors(path), written(path) as part:
        draw(title, note, groups).save(part, "PNG")


def draw(title: str, note: str, groups: Sequence[Group]) -> Image.Image:
    """The sheet: a header, and a panel for each group that has columns."""
    groups = [group for group in groups if group.columns]
    pictures = [scaled(picture) for group in groups for column in group.columns for picture in (column.original, column.erased)]
    cell = (max((p.width for p in pictures), default=SIDE), max((p.height for p in pictures), default=SIDE))
    count = max((len(group.columns) for group in groups), default=1)
    width = max(GUTTER + count * (cell[0] + GAP) - GAP + 1, 480)  # one for the last edge
    parts = [_header(title, note, width), *(_panel(group, cell, width) for group in groups)]
    height = sum(part.height for part in parts) + MARGIN * (len(parts) + 1)
    sheet = Image.new("RGB", (width + 2 * MARGIN, height), PAPER)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return sheet


def scaled(picture: Image.Image) -> Image.Image:
    """A small picture enlarged by a whole factor, a large one reduced: the longer side ends between 97 and 216 pixels."""
    longer = max(picture.size)
    factor = float(max(1, round(SIDE / longer))) if longer < 1.5 * SIDE else SIDE / longer
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrapped(text: str, font: Font, width: float, lines: int = LINES) -> list[str]:
    """Text in lines no wider than `width`, a word that is too long broken; what does not fit ends in "..."."""
    done: list[str] = []
    line = ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > width:
            done, line = [*done, line], ""
        line = f"{line} {word}".strip()
        while font.getlength(line) > width and len(line) > 1:
            cut = max(k for k in range(1, len(line)) if k == 1 or font.getlength(line[:k]) <= width)
            done, line = [*done, line[:cut]], line[cut:]
    done += [line] if line else []
    if len(done) <= lines:
        return done
    last = done[lines - 1]
    while last and font.getlength(f"{last}...") > width:
        last = last[:-1]
    return [*done[: lines - 1], f"{last}..."]


def _header(title: str, note: str, width: int) -> Image.Image:
    styled = ((title, _font(25), INK), (note, _font(14), MUTED))
    texts = [(line, font, colour) for text, font, colour in styled for line in wrapped(text, font, width, 3)]
    image = Image.new("RGB", (width, sum(_height(font) for _, font, _ in texts)), PAPER)
    pen, top = ImageDraw.Draw(image), 0
    for line, font, colour in texts:
        pen.text((0, top), line, colour, font)
        top += _height(font)
    return image


def _panel(group: Group, cell: tuple[int, int], width: int) -> Image.Image:
    """Heading with a line in the group's colour, row of originals, row of erased, prompts."""
    head, small = _font(18), _font(13)
    prompts = [wrapped(column.prompt, small, cell[0]) for column in group.columns]
    headings = wrapped(group.heading, head, width, 2)
    first = len(headings) * _height(head) + 14
    below = first + 2 * cell[1] + ROW_GAP + 10
    image = Image.new("RGB", (width, below + max(map(len, prompts)) * _height(small)), PAPER)
    pen = ImageDraw.Draw(image)
    for k, line in enumerate(headings):
        pen.text((0, k * _height(head)), line, group.colour, head)
    pen.rectangle((0, first - 10, width - 1, first - 8), fill=group.colour)
    for k, name in enumerate(ROWS):
        pen.text((0, first + k * (cell[1] + ROW_GAP) + cell[1] // 2), name, MUTED, _font(14), anchor="lm")
    for i, (column, prompt) in enumerate(zip(group.columns, prompts, strict=True)):
        left = GUTTER + i * (cell[0] + GAP)
        for k, picture in enumerate((scaled(column.original), scaled(column.erased))):
            x, y = left + (cell[0] - picture.width) // 2, first + k * (cell[1] + ROW_GAP) + (cell[1] - picture.height) // 2
            image.paste(picture, (x, y))
            pen.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=EDGE)  # a white picture has an edge too
        for k, line in enumerate(prompt):
            pen.text((left, below + k * _height(small)), line, INK, small)
    return image


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _height(font: Font) -> int:
    """Of a line, with its leading."""
    return round(1.3 * getattr(font, "size", 11))
