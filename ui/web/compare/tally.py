"""Detections over all images of a visit, by model and label: counts, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from ui.web.drawing.images import plain
from ui.web.drawing.order import DrawnImage, Order

Tally = Mapping[str, Mapping[str, int]]
"""Label of a model -> what was detected -> in how many images; "" is images in all, "*" those that show the concept."""


def counted(tally: Tally, order: Order, images: Iterable[DrawnImage]) -> dict[str, dict[str, int]]:
    """The tally with these images added."""
    sums = {label: dict(counts) for label, counts in tally.items()}
    for image in images:
        counts = sums.setdefault(order.models[image.model][0], {})
        detected = dict.fromkeys(detection["label"] for detection in image.detections)
        for name in ["", *(["*"] if image.shows else []), *detected]:
            counts[name] = counts.get(name, 0) + 1
    return sums


def tally_table(tally: Tally, name: str, rows: int = 12) -> str:
    """A small table: one column per model, the concept first, then the most frequent labels."""
    if not tally:
        return ""
    every = {label for counts in tally.values() for label in counts if label not in ("", "*")}
    labels = sorted(every, key=lambda label: (-sum(counts.get(label, 0) for counts in tally.values()), label))
    lines = [("images", ""), (f"shows {name}", "*"), *((plain(label), label) for label in labels[:rows])]
    head = "".join(f'<th scope="col">{escape(model)}</th>' for model in tally)
    body = "".join(_row(words, [_cell(counts, key) for counts in tally.values()]) for words, key in lines)
    top = f'<thead><tr><th scope="col">detected in</th>{head}</tr></thead>'
    wide = '<div class="wide" tabindex="0" role="region" aria-label="what was detected">'
    return f'{wide}<table class="tally">{top}<tbody>{body}</tbody></table></div>'


def _row(words: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{escape(words)}</th>{"".join(cells)}</tr>'


def _cell(counts: Mapping[str, int], key: str) -> str:
    n = counts.get(key, 0)
    return f"<td>{n}</td>" if key == "" else f"<td>{n} <small>{100 * n / max(1, counts.get('', 0)):.0f}%</small></td>"
