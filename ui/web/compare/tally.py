"""What was detected over all pictures of a visit: counted by model and label, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from ui.web.drawing.order import Drawn, Order
from ui.web.drawing.pictures import plain

Tally = Mapping[str, Mapping[str, int]]
"""Model's label -> what was seen -> in how many pictures; "" is pictures in all, "*" those that show the concept."""


def counted(tally: Tally, order: Order, pictures: Iterable[Drawn]) -> dict[str, dict[str, int]]:
    """The tally with these pictures."""
    sums = {label: dict(counts) for label, counts in tally.items()}
    for picture in pictures:
        counts = sums.setdefault(order.models[picture.model][0], {})
        seen = ["", *(["*"] if picture.shows else []), *dict.fromkeys(found["label"] for found in picture.found)]
        for name in seen:
            counts[name] = counts.get(name, 0) + 1
    return sums


def tally_table(tally: Tally, name: str, rows: int = 12) -> str:
    """A small table: a column a model, the concept first, then the labels that were seen most."""
    if not tally:
        return ""
    every = {label for counts in tally.values() for label in counts if label not in ("", "*")}
    labels = sorted(every, key=lambda label: (-sum(counts.get(label, 0) for counts in tally.values()), label))
    lines = [("pictures", ""), (f"shows {name}", "*"), *((plain(label), label) for label in labels[:rows])]
    head = "".join(f'<th scope="col">{escape(model)}</th>' for model in tally)
    body = "".join(_row(words, [_cell(counts, key) for counts in tally.values()]) for words, key in lines)
    top = f'<thead><tr><th scope="col">seen in</th>{head}</tr></thead>'
    wide = '<div class="wide" tabindex="0" role="region" aria-label="what was detected">'
    return f'{wide}<table class="tally">{top}<tbody>{body}</tbody></table></div>'


def _row(words: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{escape(words)}</th>{"".join(cells)}</tr>'


def _cell(counts: Mapping[str, int], key: str) -> str:
    n = counts.get(key, 0)
    return f"<td>{n}</td>" if key == "" else f"<td>{n} <small>{100 * n / max(1, counts.get('', 0)):.0f} %</small></td>"
