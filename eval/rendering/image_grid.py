"""Grids of images as PNG: comparison.png of a run (original above erased, one panel per kind of prompt), and the sheet of a bench
(one row per model, one column per prompt). Drawn with Pillow; images and words in, an image out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from erase.files import written
from erase.files.disk import disk_errors

SIDE = 144  # pixels of an image's longer side, about
MARGIN = 32  # around the sheet, and between its parts
PAPER, INK, MUTED, EDGE = "white", "#1f2328", "#59636e", "#d4d9df"
PROMPT_LINES = 6  # of a prompt in a comparison; the rest is cut off
COLUMN_GAP, ROW_GAP, ROW_NAMES = 14, 8, 78  # of a comparison, in pixels; the last is the width of the names of its rows
ROWS = ("original", "erased")
MODEL_PROMPT_LINES = 5
MODEL_GAP, BLOCK_GAP, MODEL_NAMES = 8, 26, 170  # the same of a sheet of models

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


@dataclass(frozen=True)
class Block:
    """Columns of a sheet of models under one heading: their prompts, and for each model one image per prompt (None: missing)."""

    heading: str
    colour: str
    prompts: Sequence[str]
    rows: Sequence[Sequence[Image.Image | None]]


# --- original above erased ------------------------------------------------------------------------------------------


def save_comparison(path: Path, title: str, note: str, groups: Sequence[Group]) -> None:
    """Draw the comparison and save it as PNG. `note` is small print below the title."""
    _save(path, draw_comparison(title, note, groups))


def draw_comparison(title: str, note: str, groups: Sequence[Group]) -> Image.Image:
    """A header, and a panel for each group that has columns."""
    groups = [group for group in groups if group.columns]
    images = [image for group in groups for column in group.columns for image in (column.original, column.erased)]
    cell = _cell(images, SIDE)
    count = max((len(group.columns) for group in groups), default=1)
    width = max(ROW_NAMES + count * (cell[0] + COLUMN_GAP) - COLUMN_GAP + 1, 480)  # one for the last edge
    return _stacked([_header(title, note, width), *(_panel(group, cell, width) for group in groups)], width)


def _panel(group: Group, cell: tuple[int, int], width: int) -> Image.Image:
    """Heading with a line in the group's colour, row of originals, row of erased, prompts."""
    head, small = _font(18), _font(13)
    prompts = [wrapped(column.prompt, small, cell[0]) for column in group.columns]
    headings = wrapped(group.heading, head, width, 2)
    first = len(headings) * _height(head) + 14
    below = first + 2 * cell[1] + ROW_GAP + 10
    panel = Image.new("RGB", (width, below + max(map(len, prompts)) * _height(small)), PAPER)
    pen = ImageDraw.Draw(panel)
    _write(pen, headings, (0, 0), group.colour, head)
    pen.rectangle((0, first - 10, width - 1, first - 8), fill=group.colour)
    for k, name in enumerate(ROWS):
        pen.text((0, first + k * (cell[1] + ROW_GAP) + cell[1] // 2), name, MUTED, _font(14), anchor="lm")
    for i, (column, prompt) in enumerate(zip(group.columns, prompts, strict=True)):
        left = ROW_NAMES + i * (cell[0] + COLUMN_GAP)
        for k, image in enumerate((column.original, column.erased)):
            _paste(panel, pen, image, (left, first + k * (cell[1] + ROW_GAP)), cell)
        _write(pen, prompt, (left, below), INK, small)
    return panel


# --- one row per model ----------------------------------------------------------------------------------------------


def save_models(path: Path, title: str, note: str, names: Sequence[str], blocks: Sequence[Block]) -> None:
    """Draw the sheet of models and save it as PNG; `names` are those of its rows, `note` is small print."""
    _save(path, draw_models(title, note, names, blocks))


def draw_models(title: str, note: str, names: Sequence[str], blocks: Sequence[Block]) -> Image.Image:
    """Blocks side by side, rows named on the left, prompts below the headings."""
    blocks = [block for block in blocks if block.prompts]
    cell = _cell([image for block in blocks for row in block.rows for image in row if image is not None], 128)
    step = cell[0] + MODEL_GAP
    lefts, left = [], MODEL_NAMES
    for block in blocks:
        lefts.append(left)
        left += len(block.prompts) * step - MODEL_GAP + BLOCK_GAP
    width = left - BLOCK_GAP + 1
    head, small = _font(16), _font(12)
    prompts = [[wrapped(prompt, small, cell[0], MODEL_PROMPT_LINES) for prompt in block.prompts] for block in blocks]
    headings = [wrapped(block.heading, head, max(cell[0], len(block.prompts) * step - MODEL_GAP), 3) for block in blocks]
    line = max(map(len, headings), default=1) * _height(head)
    first = line + 20 + max((len(prompt) for block in prompts for prompt in block), default=1) * _height(small)
    body = Image.new("RGB", (width, first + len(names) * (cell[1] + MODEL_GAP)), PAPER)
    pen = ImageDraw.Draw(body)
    for block, heading, texts, at in zip(blocks, headings, prompts, lefts, strict=True):
        _write(pen, heading, (at, line - len(heading) * _height(head)), block.colour, head)
        pen.rectangle((at, line + 2, at + len(texts) * step - MODEL_GAP, line + 4), fill=block.colour)
        for i, prompt in enumerate(texts):
            _write(pen, prompt, (at + i * step, line + 12), MUTED, small)
    for k, name in enumerate(names):
        top = first + k * (cell[1] + MODEL_GAP)
        _write_name(pen, name, top + cell[1] // 2)
        for block, at in zip(blocks, lefts, strict=True):
            for i, image in enumerate(block.rows[k]):
                _paste(body, pen, image, (at + i * step, top), cell)
    return _stacked([_header(title, note, width), body], width)


def _write_name(pen: ImageDraw.ImageDraw, name: str, middle: int) -> None:
    """The name of a row, around the middle of its images."""
    font = _font(14)
    lines = wrapped(name.replace(":", ": ").replace(",", ", "), font, MODEL_NAMES - 16, 5)
    for k, line in enumerate(lines):
        pen.text((0, middle + int((k - len(lines) / 2) * _height(font))), line, INK, font)


# --- what both share ------------------------------------------------------------------------------------------------


def scaled(image: Image.Image) -> Image.Image:
    """A small image enlarged by a whole factor, a large one reduced: the longer side ends between 97 and 216 pixels."""
    longer = max(image.size)
    factor = float(max(1, round(SIDE / longer))) if longer < 1.5 * SIDE else SIDE / longer
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrapped(text: str, font: Font, width: float, lines: int = PROMPT_LINES) -> list[str]:
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


def _cell(images: Sequence[Image.Image], default: int) -> tuple[int, int]:
    """Width and height that hold every image once it is scaled."""
    sizes = [scaled(image).size for image in images]
    return max((width for width, _ in sizes), default=default), max((height for _, height in sizes), default=default)


def _paste(sheet: Image.Image, pen: ImageDraw.ImageDraw, image: Image.Image | None, at: tuple[int, int], cell: tuple[int, int]) -> None:
    """The image in the middle of its cell, with an edge: a white image has one too."""
    if image is None:
        pen.text((at[0] + cell[0] // 2, at[1] + cell[1] // 2), "none", MUTED, _font(14), anchor="mm")
        return
    small = scaled(image)
    x, y = at[0] + (cell[0] - small.width) // 2, at[1] + (cell[1] - small.height) // 2
    sheet.paste(small, (x, y))
    pen.rectangle((x - 1, y - 1, x + small.width, y + small.height), outline=EDGE)


def _write(pen: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int], colour: str, font: Font) -> None:
    for k, line in enumerate(lines):
        pen.text((at[0], at[1] + k * _height(font)), line, colour, font)


def _header(title: str, note: str, width: int) -> Image.Image:
    parts = [(wrapped(text, font, width, 3), font, colour) for text, font, colour in ((title, _font(25), INK), (note, _font(14), MUTED))]
    header = Image.new("RGB", (width, sum(len(lines) * _height(font) for lines, font, _ in parts)), PAPER)
    pen, top = ImageDraw.Draw(header), 0
    for lines, font, colour in parts:
        _write(pen, lines, (0, top), colour, font)
        top += len(lines) * _height(font)
    return header


def _stacked(parts: Sequence[Image.Image], width: int) -> Image.Image:
    """The parts below each other, with a margin around each."""
    sheet = Image.new("RGB", (width + 2 * MARGIN, sum(part.height for part in parts) + MARGIN * (len(parts) + 1)), PAPER)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return sheet


def _save(path: Path, sheet: Image.Image) -> None:
    with disk_errors(path), written(path) as part:
        sheet.save(part, "PNG")


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _height(font: Font) -> int:
    """Of a line, with its leading."""
    return round(1.3 * getattr(font, "size", 11))
