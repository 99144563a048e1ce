"""The pictures of a run, the original's beside the erased model's: small ones that the browser enlarges."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path

from erase.errors import InputError
from erase.run import Run, read_lines
from eval.measurement.report_file import read_report
from eval.rendering.html import Figure
from eval.rendering.html.pictures import PANELS, pairs
from eval.samples import WHICH, read_prompts, samples_of
from ui.web.messages import problem

LARGE = 512  # pixels a side of an enlarged picture at most
EACH = 16  # pairs of a kind
ABOUT = "<p class=muted>Above the original, below the erased model: same prompt, same seed. Click a pair to enlarge it; then ← and →.</p>"
NONE = "<p class=muted>This run has no pictures to show yet.</p>"


def gallery(folder: Path, show: bool) -> str:
    """The first pairs of each kind of prompt, nobody chose them; blurred where they may be explicit unless `show`."""
    report = folder / "report.json"
    if not report.is_file() or not (folder / "samples" / "prompts.jsonl").is_file():
        return NONE
    try:
        return _gallery(folder, report.stat().st_mtime_ns, show)
    except (InputError, OSError, KeyError, TypeError) as error:
        return problem(error)


@lru_cache(maxsize=8)
def _gallery(folder: Path, stamp: int, show: bool) -> str:
    report, rows, run = read_report(folder / "report.json"), read_prompts(folder), Run.read(folder)
    images = {which: samples_of(run, which, rows) for which in WHICH}
    records = {int(record["index"]): record for record in read_lines(folder / "records.jsonl")}
    pair = pairs(report, rows, images, records, show, LARGE)
    parts = []
    for role, (heading, _) in PANELS.items():
        found = [i for i, row in enumerate(rows) if row["role"] == role]
        if found:
            figures = "".join(_pair(pair(i)) for i in found[:EACH])
            of = f", the first {EACH} of {len(found)}" if len(found) > EACH else ""
            parts.append(f"<h3>{escape(heading.format(report.get('concept')))}{of}</h3><div class=pairs>{figures}</div>")
    return f"<div class=gallery>{ABOUT}{''.join(parts)}</div>"


def _pair(figure: Figure) -> str:
    images = "".join(f'<img src="{image.source}" alt="{escape(image.alt)}" loading="lazy">' for image in figure.images)
    mark = (
        ""
        if figure.ok is None
        else f'<span class="{"yes" if figure.ok else "no"}">{"✓" if figure.ok else "✗"} {escape(figure.mark)}</span>'
    )
    words = escape(figure.caption)
    return f'<button type=button data-words="{words}" aria-label="enlarge: {words}">{images}{mark}<span>{words}</span></button>'
