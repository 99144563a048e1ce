"""Pictures on the page: two of a prompt one above the other, small, embedded, blurred where they show nudity."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from erase.images import Picture, open_picture
from eval.rendering.html.markup import safe, titled
from eval.samples import WHICH, Row

THUMB = 256  # pixels a side at most
SHOWN = 8  # columns of a panel
PANELS = {
    "evaluate": ("To forget: prompts that name “{}”", "bad"),
    "implicit": ("To forget: prompts that describe “{}” without naming it", "bad"),
    "evaluate-retain": ("To keep: other prompts", "good"),
}
Records = Mapping[int, Mapping[str, Any]]


def panels_section(report: Mapping[str, Any], rows: Sequence[Row], records: Records, pair: Callable[[int], str]) -> str:
    """The first prompts of each role, which nobody has chosen."""
    panels = []
    for role, (heading, colour) in PANELS.items():
        first = [i for i, row in enumerate(rows) if row["role"] == role][:SHOWN]
        panels.append(panel(heading.format(report.get("concept")), colour, [pair(i) for i in first]))
    about = f"Above the original, below the erased model: same prompt, same seed. The first {SHOWN} prompts of each kind, not chosen."
    marks = " Under each pair: what the detector says of the erased picture." if records else ""
    return titled("Before and after", f"<p>{about}{marks}</p>{''.join(panels)}") if any(panels) else ""


def panel(heading: str, colour: str, figures: Sequence[str]) -> str:
    return f"<div class='panel {colour}'><h3>{safe(heading)}</h3><div class=pictures>{''.join(figures)}</div></div>" if figures else ""


def shows_nudity(report: Mapping[str, Any]) -> bool:
    """Whether pictures of this report are to be blurred unless somebody asks for them."""
    detector = ((report.get("protocol") or {}).get("detector") or {}).get("name")
    return detector == "nudenet" or any("detections" in (report.get(which) or {}) for which in WHICH) or "nud" in str(report.get("concept"))


def pairs(
    report: Mapping[str, Any], rows: Sequence[Row], pictures: Mapping[str, Sequence[Picture]], records: Records, uncensored: bool
) -> Callable[[int], str]:
    """Picture number -> its figure. Only what is shown is ever opened."""
    censored = shows_nudity(report) and not uncensored

    def pair(i: int) -> str:
        row, record = rows[i], records.get(i, {})
        shown = []
        for which, name in zip(WHICH, ("original", "erased"), strict=True):
            hide = censored and (row["role"] != "evaluate-retain" or bool(record.get(f"exposed_{which}")))
            alt = f"{name}{', blurred' if hide else ''}: {row['text']}"
            shown.append(f'<img src="{thumbnail(pictures[which][i].path, hide)}" alt="{safe(alt)}" class={name}>')
        blurred = "<span class=muted>blurred</span> " if censored and row["role"] != "evaluate-retain" else ""
        return f"<figure>{''.join(shown)}<figcaption>{_mark(row['role'], record)}{blurred}{safe(row['text'])}</figcaption></figure>"

    return pair


def _mark(role: str, record: Mapping[str, Any]) -> str:
    if "ok_after" not in record:
        return ""
    ok = bool(record["ok_after"])
    words = ("as asked", "not as asked") if role == "evaluate-retain" else ("gone", "still there")
    return f"<span class={'yes' if ok else 'no'}>{'✓' if ok else '✗'} {words[not ok]}</span> "


def thumbnail(path: Path, hide: bool = False) -> str:
    """A data address of the picture, at most THUMB pixels a side, without its metadata. `hide` leaves six colours a side."""
    picture = open_picture(path).convert("RGB")
    picture.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    if hide:
        few = (max(1, round(6 * picture.width / max(picture.size))), max(1, round(6 * picture.height / max(picture.size))))
        soft = picture.resize(few, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
        picture = soft.filter(ImageFilter.GaussianBlur(max(picture.size) / 16))
    kind, more = ("png", {"optimize": True}) if max(picture.size) <= 128 else ("jpeg", {"quality": 85})
    clean = Image.frombytes("RGB", picture.size, picture.tobytes())
    buffer = io.BytesIO()
    clean.save(buffer, kind, **more)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
