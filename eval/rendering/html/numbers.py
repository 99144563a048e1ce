"""The numbers of a report as tables, with intervals and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.metrics.accuracy import MEANINGS
from eval.rendering.charts import change_bars, ranges
from eval.rendering.html.markup import safe, small, tabled, titled
from eval.rendering.verdict import about as about_of
from eval.rendering.verdict import change, measures, notes, number
from eval.rendering.verdict import title as title_of
from eval.samples import WHICH

LOWER = ("fid", "kid", "frechet", "lpips")  # of these less is better


def detections_section(report: Mapping[str, Any]) -> str:
    before, after = ((report.get(which) or {}).get("detections") or {} for which in WHICH)
    if not before and not after:
        return ""
    empty = {"boxes": 0, "pictures": 0}
    both = {label: (before.get(label, empty), after.get(label, empty)) for label in {**before, **after}}
    boxes = {_plain(label): (b["boxes"], a["boxes"]) for label, (b, a) in both.items()}
    title = "Exposed body parts: change of the number of boxes against the original"
    about = "What the detector finds in all pictures, as change of the number of boxes; the same prompts, seeds and threshold."
    heads = ("Found", "boxes, original", "boxes, erased", "pictures, original", "pictures, erased")
    cells = [[_plain(label), *(f"{side[kind]:,}" for kind in ("boxes", "pictures") for side in sides)] for label, sides in both.items()]
    chart = f"<div class=chart>{change_bars(boxes, title)}</div>"
    return titled("Exposed body parts", f"<p>{safe(about)}</p>{chart}{tabled(heads, cells)}")


def table_section(report: Mapping[str, Any]) -> str:
    """All numbers with intervals, change and n."""
    body = []
    for name, (before, after) in measures(report).items():
        said = [about_of(name), *notes(before), *(text for text in notes(after) if text not in list(notes(before)))]
        words = f"<small>{safe('; '.join(filter(None, said)))}</small><small><code>{safe(name)}</code></small>"
        head = f"<th scope=row>{safe(title_of(name))}{words}</th>"
        strip = ranges(before, after) if name in MEANINGS and all(_whole(side) for side in (before, after) if side) else ""
        n = (after or before or {}).get("n", "")
        cells = [number(before, name).replace(" [", "\n["), number(after, name).replace(" [", "\n["), *_changed(report, name), n]
        body.append(f"<tr>{head}<td class=strip>{strip}</td>{''.join(f'<td>{small(cell)}</td>' for cell in cells)}</tr>")
    if not body:
        return ""
    heads = ("Measure", "0 to 100 %", "Original", "Erased", "Change", "p", "Pictures")
    scope = "".join(f"<th scope=col>{head}</th>" for head in heads)
    about = (
        "Shares are in percent; brackets hold 95 % intervals. In the small pictures: hollow the original, filled the erased model. "
        "Change is erased minus original; p is the probability of as large a change by chance, where that was tested."
    )
    table = f"<div class=wide><table class=numbers><thead><tr>{scope}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    return titled("The numbers", f"<p>{about}</p>{table}")


def _changed(report: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The change with its interval and in a word; and p."""
    found = change(report, name)
    if found is None:
        return "–", "–"
    difference, low, high = found
    digits = 1 if name in MEANINGS else 3 if abs(difference) < 10 else 2
    up = not any(part in name for part in LOWER)
    word = "no clear change" if low <= 0 <= high else "better" if (difference > 0) == up else "worse"
    shown = "no change" if difference == low == high == 0 else f"{difference:+.{digits}f}\n[{low:+.{digits}f}, {high:+.{digits}f}]\n{word}"
    p = ((report.get("paired") or {}).get(name) or {}).get("p")
    return shown.replace("-", "−"), "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def concepts_section(report: Mapping[str, Any]) -> str:
    """Where several concepts were erased, the numbers of each."""
    cells = []
    for name, part in (report.get("concepts") or {}).items():
        said = f"{name} (gone earlier)" if name in (report.get("earlier") or ()) else name
        cells += [
            [said, title_of(m), number(before, m), number(after, m)] for m, (before, after) in measures(part).items() if m in MEANINGS
        ]
    about = "<p>Prompts to keep are the same for all; a line with two names is of prompts that name both.</p>"
    return titled("Each concept", about + tabled(("Concept", "Measure", "original", "erased"), cells)) if cells else ""


def became_section(report: Mapping[str, Any]) -> str:
    before, after = ((report.get(which) or {}).get("became") or {} for which in WHICH)
    labels = sorted({**before, **after}, key=lambda label: (-after.get(label, 0), -before.get(label, 0), label))
    cells = [[label, f"{before.get(label, 0):,}", f"{after.get(label, 0):,}"] for label in labels]
    about = "<p>What the detector sees in pictures of prompts that name the concept.</p>"
    return titled("What is drawn instead", about + tabled(("Seen", "original", "erased"), cells)) if cells else ""


def _plain(label: str) -> str:
    """A detector's label as people write it."""
    words = label.removesuffix("_EXPOSED").replace("_", " ").lower()
    return words[:1].upper() + words[1:]


def _whole(metric: Mapping[str, Any]) -> bool:
    return all(metric.get(name) is not None for name in ("value", "low", "high"))
