"""Pictures of a run: the small strip on the shelf, the original's above the erased model's, blurred where they may be explicit."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from erase.errors import InputError
from erase.images import open_picture
from eval.rendering.blur import blurred
from eval.samples import WHICH, Row, read_prompts

SIDE, GAP = 72, 3  # pixels
TO_FORGET, TO_KEEP = 3, 1  # columns of a strip


def strip(folder: Path, hide: bool) -> tuple[str, str] | None:
    """Address and text of the strip; None for a run that has no pictures yet."""
    try:
        rows = read_prompts(folder)
    except (InputError, OSError, ValueError):
        return None
    columns = _columns(rows)
    paths = tuple(tuple(folder / "samples" / which / f"{i:05d}.png" for i in columns) for which in WHICH)
    stamps = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for row in paths for path in row)
    if not columns or not any(stamps):
        return None
    words = "; ".join(rows[i]["text"] for i in columns)
    address = _strip(paths, stamps, hide)
    return (address, f"above the original, below the erased model{', blurred' if hide else ''}: {words}") if address else None


def _columns(rows: Sequence[Row]) -> list[int]:
    """The first prompts that name the concept, and the first to keep; nobody chose them."""
    return [
        i
        for role, count in (("evaluate", TO_FORGET), ("evaluate-retain", TO_KEEP))
        for i in [k for k, row in enumerate(rows) if row["role"] == role][:count]
    ]


@lru_cache(maxsize=256)
def _strip(paths: tuple[tuple[Path, ...], ...], stamps: tuple[int, ...], hide: bool) -> str:
    """As a data address; `stamps` are the versions of the files."""
    width, height = (n * (SIDE + GAP) - GAP for n in (len(paths[0]), len(paths)))
    sheet = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for y, row in enumerate(paths):
        for x, path in enumerate(row):
            try:
                picture = open_picture(path).convert("RGB")
            except Exception:  # missing, or just being written; Pillow's decoders raise many kinds
                continue
            small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(blurred(small) if hide else small, (x * (SIDE + GAP), y * (SIDE + GAP)))
    return address_of(sheet)


def address_of(image: Image.Image, quality: int = 85) -> str:
    """A picture as a data address."""
    file = io.BytesIO()
    image.save(file, "webp", quality=quality, method=1)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
