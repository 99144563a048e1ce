"""The images of every model of a bench on the same prompts: as sheet-CONCEPT.png, and for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

from erase.images import open_picture, read_images
from erase.run import Run
from eval.bench.summary import ORIGINAL, Line
from eval.rendering.blur import blurred
from eval.rendering.html import Image
from eval.rendering.image_grid import Block, save_models, scaled
from eval.report import PANELS
from eval.samples import read_prompts

COLUMNS = {"evaluate": 4, "implicit": 2, "evaluate-retain": 6}  # role -> prompts of the sheet
HEADINGS = {"evaluate": "{}, named", "implicit": "{}, described", "evaluate-retain": "to keep: other prompts"}


@dataclass(frozen=True)
class GridRow:
    """One model: its name, and its images block by block; an image without a source is missing."""

    name: str
    blocks: Sequence[Sequence[Image]]


@dataclass(frozen=True)
class Grid:
    """The sheet for a page: blocks of columns, rows of embedded images, and the CSS widths of the columns."""

    blocks: Sequence[Block]
    rows: Sequence[GridRow]
    columns: str


def sheet(folder: Path, concept: str, lines: Sequence[Line], order: Sequence[str]) -> Grid | None:
    """Write sheet-CONCEPT.png and return the same for the page: all models, in this order, on the first seed with a result.

    None where every run of the concept failed.
    """
    fine = [one for one in lines if one["concept"] == concept and not one.get("failure")]
    if not fine:
        return None
    seed = fine[0]["seed"]
    runs = {one["label"]: Path(one["folder"]) for one in sorted(fine, key=lambda one: order.index(one["label"])) if one["seed"] == seed}
    first = next(iter(runs.values()))
    sets = {ORIGINAL: Run.read(first).samples("before"), **{label: Run.read(run).samples("after") for label, run in runs.items()}}
    rows, hide = read_prompts(first), Run.read(first).options["concept_file"]["detector"] == "nudenet"
    samples = {label: read_images(place) for label, place in sets.items()}
    blocks = []
    for role, (_, colour) in PANELS.items():
        places = [i for i, row in enumerate(rows) if row["role"] == role][: COLUMNS[role]]
        covered = hide and role != "evaluate-retain"
        images = [[_opened(sample[i].path, covered) for i in places] for sample in samples.values()]
        blocks.append(Block(HEADINGS[role].format(f'"{concept}"'), colour, [rows[i]["text"] for i in places], images))
    path = folder / f"sheet-{''.join(c if c.isalnum() or c in '-_' else '-' for c in concept)}.png"
    note = f"Seed {seed}. In each column the same prompt and the same noise. The first prompts of each kind, not chosen."
    save_models(path, f'"{concept}": every model on the same prompts', note, list(sets), blocks)
    return grid_of(list(sets), blocks)


def grid_of(names: Sequence[str], blocks: Sequence[Block]) -> Grid:
    """The sheet for a page: images embedded, words as text."""
    blocks = [block for block in blocks if block.prompts]
    rows = []
    for k, name in enumerate(names):
        images = [
            [_embedded(image, f"{name}: {prompt}") for image, prompt in zip(block.rows[k], block.prompts, strict=True)] for block in blocks
        ]
        rows.append(GridRow(name, images))
    return Grid(blocks, rows, " 6px ".join(f"repeat({len(block.prompts)},minmax(52px,1fr))" for block in blocks))


def _opened(path: Path, covered: bool) -> Pillow.Image:
    return blurred(open_picture(path)) if covered else open_picture(path)


def _embedded(image: Pillow.Image | None, alt: str) -> Image:
    if image is None:
        return Image("", alt, "")
    buffer = io.BytesIO()
    scaled(image).save(buffer, "JPEG", quality=88)
    return Image(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", alt, "")
