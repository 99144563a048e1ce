"""One grid of pictures: a row a model, a column a prompt, the same prompt and seed all the way down; as PNG and as HTML.

Pillow only. Knows nothing of runs: it is given pictures and words.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw

from erase.files import written
from erase.run import disk_errors
from eval.rendering.comparison_sheet import EDGE, INK, MARGIN, MUTED, PAPER, _font, _header, _height, scaled, wrapped

GAP, GROUP_GAP, GUTTER, LINES = 8, 26, 170, 5


@dataclass(frozen=True)
class Block:
    """Columns under one heading: their prompts, and for each row of the grid a picture a prompt (None: there is none)."""

    heading: str
    colour: str
    prompts: Sequence[str]
    rows: Sequence[Sequence[Image.Image | None]]


def grid(path: Path, title: str, note: str, names: Sequence[str], blocks: Sequence[Block]) -> None:
    """Draw the grid and save it as PNG; `names` are those of its rows, `note` a line of small print."""
    with disk_errors(path), written(path) as part:
        draw(title, note, names, blocks).save(part, "PNG")


def draw(title: str, note: str, names: Sequence[str], blocks: Sequence[Block]) -> Image.Image:
    """The grid: blocks side by side, rows named on the left, prompts below the headings."""
    blocks = [block for block in blocks if block.prompts]
    pictures = [scaled(picture) for block in blocks for row in block.rows for picture in row if picture is not None]
    cell = (max((p.width for p in pictures), default=128), max((p.height for p in pictures), default=128))
    step = cell[0] + GAP
    lefts, left = [], float(GUTTER)
    for block in blocks:
        lefts.append(int(left))
        left += len(block.prompts) * step - GAP + GROUP_GAP
    width = int(left) - GROUP_GAP + 1
    header = _header(title, note, width)
    head, small = _font(16), _font(12)
    words = [[wrapped(prompt, small, cell[0], LINES) for prompt in block.prompts] for block in blocks]
    tall = max((len(prompt) for block in words for prompt in block), default=1) * _height(small)
    headings = [wrapped(block.heading, head, max(cell[0], len(block.prompts) * step - GAP), 3) for block in blocks]
    over = max(map(len, headings), default=1) * _height(head)
    first = over + 12 + tall + 8
    body = Image.new("RGB", (width, first + len(names) * (cell[1] + GAP)), PAPER)
    pen = ImageDraw.Draw(body)
    for block, heading, prompts, at in zip(blocks, headings, words, lefts, strict=True):
        for k, line in enumerate(heading):
            pen.text((at, over - (len(heading) - k) * _height(head)), line, block.colour, head)
        pen.rectangle((at, over + 2, at + len(prompts) * step - GAP, over + 4), fill=block.colour)
        for i, prompt in enumerate(prompts):
            for k, line in enumerate(prompt):
                pen.text((at + i * step, over + 12 + k * _height(small)), line, MUTED, small)
    for k, name in enumerate(names):
        _row(body, pen, name, [block.rows[k] for block in blocks], lefts, first + k * (cell[1] + GAP), cell)
    sheet = Image.new("RGB", (width + 2 * MARGIN, header.height + body.height + 3 * MARGIN), PAPER)
    sheet.paste(header, (MARGIN, MARGIN))
    sheet.paste(body, (MARGIN, 2 * MARGIN + header.height))
    return sheet


def as_html(names: Sequence[str], blocks: Sequence[Block]) -> str:
    """The same grid for a page: pictures embedded, words as text."""
    blocks = [block for block in blocks if block.prompts]
    columns = " 6px ".join(f"repeat({len(block.prompts)},minmax(52px,1fr))" for block in blocks)
    gap = "<span></span>"
    cells = []
    for block in blocks:
        look = f"grid-column:span {len(block.prompts)};border-bottom:3px solid {block.colour};padding-bottom:2px;align-self:end"
        cells += [gap, f"<strong style='{look};font-size:.8rem'>{escape(block.heading)}</strong>"]
    for block in blocks:
        cells += [gap, *(f"<span class=muted style='line-height:1.25'>{escape(prompt)}</span>" for prompt in block.prompts)]
    for k, name in enumerate(names):
        shown = escape(name).replace(":", ":<wbr>").replace(",", ",<wbr>")
        first = f"<span style='align-self:center;font-size:.82rem;overflow-wrap:break-word;min-width:0'>{shown}</span>"
        for block in blocks:
            cells += [first, *(_img(picture, f"{name}: {prompt}") for picture, prompt in zip(block.rows[k], block.prompts, strict=True))]
            first = gap
    look = f"display:grid;grid-template-columns:8.5rem {columns};gap:5px;min-width:860px;font-size:.68rem"
    return f"<div class=wide><div style='{look}'>{''.join(cells)}</div></div>"


def _img(picture: Image.Image | None, words: str) -> str:
    if picture is None:
        return "<span class=muted style='align-self:center;text-align:center'>none</span>"
    buffer = io.BytesIO()
    scaled(picture).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img style="margin:0" alt="{escape(words)}" src="data:image/jpeg;base64,{data}">'


def _row(
    body: Image.Image, pen: ImageDraw.ImageDraw, name: str, parts: Sequence[Sequence[Image.Image | None]], lefts: Sequence[int], top: int,
    cell: tuple[int, int],
) -> None:  # fmt: skip
    """One model's pictures, its name on the left."""
    font = _font(14)
    said = wrapped(name.replace(":", ": ").replace(",", ", "), font, GUTTER - 16, 5)
    for k, line in enumerate(said):
        pen.text((0, top + cell[1] // 2 + int((k - len(said) / 2) * _height(font))), line, INK, font)
    for part, left in zip(parts, lefts, strict=True):
        for i, picture in enumerate(part):
            x, y = left + i * (cell[0] + GAP), top
            if picture is None:
                pen.text((x + cell[0] // 2, y + cell[1] // 2), "none", MUTED, font, anchor="mm")
                continue
            shown = scaled(picture)
            x, y = x + (cell[0] - shown.width) // 2, y + (cell[1] - shown.height) // 2
            body.paste(shown, (x, y))
            pen.rectangle((x - 1, y - 1, x + shown.width, y + shown.height), outline=EDGE)
