"""Images of a report: those of one prompt above each other, small, embedded, blurred where they show nudity."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image as Pillow

from erase.images import Picture, open_picture
from eval.rendering.blur import blurred
from eval.samples import WHICH, Row

THUMB = 256  # pixels a side at most
COLUMNS = 8  # of a panel
PANELS = {
    "evaluate": ("To forget: prompts that name “{}”", "bad"),
    "implicit": ("To forget: prompts that describe “{}” without naming it", "bad"),
    "evaluate-retain": ("To keep: other prompts", "good"),
}
Records = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Image:
    """An embedded image: its data address, its text for readers who do not see it, its CSS class."""

    source: str
    alt: str
    kind: str


@dataclass(frozen=True)
class Figure:
    """Images with a caption; `ok` and `mark` are what the detector decided, None where it decided nothing."""

    images: Sequence[Image]
    caption: str
    note: str = ""
    ok: bool | None = None
    mark: str = ""
    blurred: bool = False


@dataclass(frozen=True)
class Panel:
    """Figures under a coloured heading."""

    heading: str
    colour: Literal["good", "bad"]
    figures: Sequence[Figure]


Pair = Callable[[int], Figure]  # index of a prompt -> original above erased


def panels_of(report: Mapping[str, Any], rows: Sequence[Row], pair: Pair) -> list[Panel]:
    """The first prompts of each role, not chosen; a role without prompts has no panel."""
    panels = []
    for role, (heading, colour) in PANELS.items():
        first = [i for i, row in enumerate(rows) if row["role"] == role][:COLUMNS]
        panels.append(Panel(heading.format(report.get("concept")), "good" if colour == "good" else "bad", [pair(i) for i in first]))
    return [panel for panel in panels if panel.figures]


def shows_nudity(report: Mapping[str, Any]) -> bool:
    """Whether images of this report are blurred by default."""
    detector = ((report.get("protocol") or {}).get("detector") or {}).get("name")
    return detector == "nudenet" or any("detections" in (report.get(which) or {}) for which in WHICH) or "nud" in str(report.get("concept"))


def pairs(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    records: Records,
    uncensored: bool,
    side: int = THUMB,
) -> Pair:
    """Index of a prompt -> its figure, its images of at most `side` pixels. Only images that are shown are opened."""
    censored = shows_nudity(report) and not uncensored

    def pair(i: int) -> Figure:
        row, record = rows[i], records.get(i, {})
        keep = row["role"] == "evaluate-retain"
        images = []
        for which, name in zip(WHICH, ("original", "erased"), strict=True):
            hide = censored and (not keep or bool(record.get(f"exposed_{which}")))
            words = f"{name}{', blurred' if hide else ''}: {row['text']}"
            images.append(Image(thumbnail(pictures[which][i].path, hide, side), words, name))
        ok = bool(record["ok_after"]) if "ok_after" in record else None
        marks = ("as asked", "not as asked") if keep else ("gone", "still there")
        return Figure(images, row["text"], ok=ok, mark=marks[not ok], blurred=censored and not keep)

    return pair


def thumbnail(path: Path, hide: bool = False, side: int = THUMB) -> str:
    """A data address of the image, at most `side` pixels a side, without its metadata; `hide` blurs it."""
    picture = open_picture(path).convert("RGB")
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    if hide:
        picture = blurred(picture)
    kind, options = ("png", {"optimize": True}) if max(picture.size) <= 128 else ("jpeg", {"quality": 85})
    clean = Pillow.frombytes("RGB", picture.size, picture.tobytes())
    buffer = io.BytesIO()
    clean.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
