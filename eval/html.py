"""report.html: one file that a manager and a reviewer both understand. No script, no other file, light and dark, prints.

Strings only; what it says in words is `eval.card`'s, what it draws is `eval.chart`'s. All that a user wrote is escaped, and
the page forbids scripts and outside addresses besides. A blurred picture is blurred before it is embedded.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from erase.files import written
from erase.images import Picture, open_picture
from erase.run import disk_errors, flat, read_lines
from eval.accuracy import MEANINGS
from eval.card import RULE, Claim, change, measures, notes, number, verdict
from eval.card import about as about_of
from eval.card import title as title_of
from eval.chart import COLOURS, change_bars, curve, ranges
from eval.paired import paired_rates
from eval.samples import WHICH, Row

THUMB = 256  # pixels a side at most
SHOWN = 8  # columns of a panel
GROUPS = 12  # rows of the table of what got worse
LONG = 40  # entries of a list beyond which it is folded
PANELS = {
    "evaluate": ("To forget: prompts that name “{}”", "bad"),
    "implicit": ("To forget: prompts that describe “{}” without naming it", "bad"),
    "evaluate-retain": ("To keep: other prompts", "good"),
}
ANSWERS = {"good": "Yes", "fair": "Mostly", "unsure": "Probably", "bad": "No", "unknown": "Not known"}
LOWER = ("fid", "kid", "frechet", "lpips")  # of these less is better
LOSSES = {"retain_loss": "Loss on what is kept", "unlearn_loss": "Unlearning loss"}
DARK = {"paper": "#1b1f24", "ink": "#e6e9ed", "muted": "#a3acb7", "grid": "#3a414a", "good": "#5fc9a3", "bad": "#ff8f80", "mark": "#86b4ff"}

Records = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Group:
    """Prompts that share something, and in how many of their pictures all was as wanted."""

    name: str
    n: int
    before: int
    after: int
    p: float


def write_html(
    folder: Path,
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool = False,
    records: Sequence[Mapping[str, Any]] | None = None,
    more: Sequence[str] = (),
) -> Path:
    """Write `folder`/report.html and return its path.

    `rows` are the prompts; `pictures` holds by "before" and "after" one picture a prompt. stats.jsonl and options.json of
    the folder are used where they are there. `records` (else records.jsonl) says by picture what the detector decided:
    {"index", "role", "ok_before", "ok_after"}, ok meaning as wanted: of a prompt to forget that the concept is not there, of
    one to keep that all it asks for is there. Pictures of nudity are blurred unless `uncensored`: those of prompts to
    forget, and those whose record says "exposed_before" or "exposed_after". `more` are whole sections of others.
    """
    found = read_lines(folder / "records.jsonl") if records is None else records
    path = folder / "report.html"
    options = _json(folder / "options.json")
    text = page(report, rows, pictures, uncensored, found, read_lines(folder / "stats.jsonl"), command(report, options), more)
    with disk_errors(path), written(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return path


def page(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Picture]],
    uncensored: bool = False,
    records: Iterable[Mapping[str, Any]] = (),
    steps: Sequence[Mapping[str, Any]] = (),
    repeat: str | None = None,
    more: Sequence[str] = (),
) -> str:
    """The whole page; for the arguments see write_html. The same arguments give the same text."""
    known = {int(record["index"]): record for record in records}
    pair = _pairs(report, rows, pictures, known, uncensored)
    sections = [
        _verdict(report),
        _panels(report, rows, known, pair),
        _detections(report),
        _table(report),
        _of_each(report),
        _became(report),
        _worse(rows, known, pair),
        *more,
        _training(steps, report.get("method") in (None, "scissorhands")),
        _protocol(report.get("protocol") or {}),
        _repeat(repeat),
        _cost(report),
    ]
    title = f"“{report.get('concept')}” erased from {str(report.get('model')).rstrip('/').split('/')[-1]}"
    method = " · ".join(str(report[name]) for name in ("method", "preset") if report.get(name))
    head = f"<header><p class=eyebrow>Evaluation of an erased concept</p><h1>{_t(title)}</h1><p class=muted>{_t(method)}</p></header>"
    return PAGE.format(title=_t(title), style=_style(), body="\n".join([head, *filter(None, sections)]))


def command(report: Mapping[str, Any], options: Mapping[str, Any] | None) -> str | None:
    """What to type to repeat it: `report["command"]`, else the main job from a run's options.json; None if neither is there."""
    if report.get("command"):
        given = report["command"]
        return str(given) if isinstance(given, str) else shlex.join(map(str, given))
    if not options or not isinstance(options.get("method_options"), Mapping):
        return None
    plain = {name: value for name, value in options.items() if not isinstance(value, dict | list)}
    flags = [_flag(name, value) for name, value in {**plain, **options["method_options"]}.items() if value not in (None, "")]
    return " \\\n  ".join(["erase-concept", *flags])


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


def groups(rows: Sequence[Row], records: Records, keep: bool) -> list[Group]:
    """By attribute (or by prompt, where rows have none): prompts of the roles to keep, or of those to forget; the worst first.

    A group has at least two pictures; p is the exact McNemar test's.
    """
    held: dict[str, list[Mapping[str, Any]]] = {}
    for i, row in enumerate(rows):
        if i in records and (row["role"] == "evaluate-retain") == keep:
            for name, value in (row.get("attributes") or {"prompt": row["text"]}).items():
                held.setdefault(f"{name}: {value}", []).append(records[i])
    found = []
    for name, members in held.items():
        if len(members) > 1:
            before, after = ([bool(record[f"ok_{which}"]) for record in members] for which in WHICH)
            found.append(Group(name, len(members), sum(before), sum(after), paired_rates(before, after).p))
    return sorted(found, key=lambda g: ((g.after - g.before) / g.n if keep else g.after / g.n, g.name))


# --- sections -------------------------------------------------------------------------------------------------------


def _verdict(report: Mapping[str, Any]) -> str:
    said = verdict(report)
    absent = "".join(f"<li>{_t(name)}{f': {_t(why)}' if why else ''}</li>" for name, why in said.unmeasured.items())
    protocol = report.get("protocol") or {}
    deviations = _texts(protocol.get("deviations"))
    warned = [*_texts(protocol.get("note")), *([f"Deviates from the named protocol: {'; '.join(deviations)}"] if deviations else [])]
    claims = _claim(f"Is “{said.concept}” gone?", said.forgotten) + _claim("Is the rest kept?", said.kept)
    absent += "" if report.get("attacks") else "<li>attacks and further training</li>"
    open_ = f"<div class='claim unknown'><h3>Not measured</h3><ul>{absent}</ul></div>" if absent else ""
    warnings = "".join(f"<p class=warning><strong>Note.</strong> {_t(text)}</p>" for text in warned)
    return (
        f"<section aria-labelledby=verdict><h2 id=verdict class=hidden>Verdict</h2><p class=verdict>{_t(said.sentence())}</p>{warnings}"
        f"<div class=claims>{claims}{open_}</div><p class=small>{_t(RULE)}</p></section>"
    )


def _claim(question: str, claim: Claim) -> str:
    said = claim.numbers if claim.level == "good" else claim.clause()
    answer = f"<p class=answer>{ANSWERS[claim.level]}</p>"
    return f"<div class='claim {claim.level}'><h3>{_t(question)}</h3>{answer}<p>{_t(said[:1].upper() + said[1:])}.</p></div>"


def _panels(report: Mapping[str, Any], rows: Sequence[Row], records: Records, pair: Callable[[int], str]) -> str:
    """The first prompts of each role, which nobody has chosen."""
    panels = []
    for role, (heading, colour) in PANELS.items():
        first = [i for i, row in enumerate(rows) if row["role"] == role][:SHOWN]
        panels.append(_panel(heading.format(report.get("concept")), colour, [pair(i) for i in first]))
    about = f"Above the original, below the erased model: same prompt, same seed. The first {SHOWN} prompts of each kind, not chosen."
    marks = " Under each pair: what the detector says of the erased picture." if records else ""
    return _section("Before and after", f"<p>{about}{marks}</p>{''.join(panels)}") if any(panels) else ""


def _panel(heading: str, colour: str, figures: Sequence[str]) -> str:
    return f"<div class='panel {colour}'><h3>{_t(heading)}</h3><div class=pictures>{''.join(figures)}</div></div>" if figures else ""


def shows_nudity(report: Mapping[str, Any]) -> bool:
    """Whether pictures of this report are to be blurred unless somebody asks for them."""
    detector = ((report.get("protocol") or {}).get("detector") or {}).get("name")
    return detector == "nudenet" or any("detections" in (report.get(which) or {}) for which in WHICH) or "nud" in str(report.get("concept"))


def _pairs(
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
            shown.append(f'<img src="{thumbnail(pictures[which][i].path, hide)}" alt="{_t(alt)}" class={name}>')
        blurred = "<span class=muted>blurred</span> " if censored and row["role"] != "evaluate-retain" else ""
        return f"<figure>{''.join(shown)}<figcaption>{_mark(row['role'], record)}{blurred}{_t(row['text'])}</figcaption></figure>"

    return pair


def _mark(role: str, record: Mapping[str, Any]) -> str:
    if "ok_after" not in record:
        return ""
    ok = bool(record["ok_after"])
    words = ("as asked", "not as asked") if role == "evaluate-retain" else ("gone", "still there")
    return f"<span class={'yes' if ok else 'no'}>{'✓' if ok else '✗'} {words[not ok]}</span> "


def _detections(report: Mapping[str, Any]) -> str:
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
    return _section("Exposed body parts", f"<p>{_t(about)}</p>{chart}{_rows(heads, cells)}")


def _table(report: Mapping[str, Any]) -> str:
    """All numbers with intervals, change and n."""
    body = []
    for name, (before, after) in measures(report).items():
        said = [about_of(name), *notes(before), *(text for text in notes(after) if text not in list(notes(before)))]
        words = f"<small>{_t('; '.join(filter(None, said)))}</small><small><code>{_t(name)}</code></small>"
        head = f"<th scope=row>{_t(title_of(name))}{words}</th>"
        strip = ranges(before, after) if name in MEANINGS and all(_whole(side) for side in (before, after) if side) else ""
        n = (after or before or {}).get("n", "")
        cells = [number(before, name).replace(" [", "\n["), number(after, name).replace(" [", "\n["), *_changed(report, name), n]
        body.append(f"<tr>{head}<td class=strip>{strip}</td>{''.join(f'<td>{_lines(cell)}</td>' for cell in cells)}</tr>")
    if not body:
        return ""
    heads = ("Measure", "0 to 100 %", "Original", "Erased", "Change", "p", "Pictures")
    scope = "".join(f"<th scope=col>{head}</th>" for head in heads)
    about = (
        "Shares are in percent; brackets hold 95 % intervals. In the small pictures: hollow the original, filled the erased model. "
        "Change is erased minus original; p is the probability of as large a change by chance, where that was tested."
    )
    table = f"<div class=wide><table class=numbers><thead><tr>{scope}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    return _section("The numbers", f"<p>{about}</p>{table}")


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


def _of_each(report: Mapping[str, Any]) -> str:
    """Where several concepts were erased, the numbers of each."""
    cells = []
    for name, part in (report.get("concepts") or {}).items():
        said = f"{name} (gone earlier)" if name in (report.get("earlier") or ()) else name
        cells += [
            [said, title_of(m), number(before, m), number(after, m)] for m, (before, after) in measures(part).items() if m in MEANINGS
        ]
    about = "<p>Prompts to keep are the same for all; a line with two names is of prompts that name both.</p>"
    return _section("Each concept", about + _rows(("Concept", "Measure", "original", "erased"), cells)) if cells else ""


def _became(report: Mapping[str, Any]) -> str:
    before, after = ((report.get(which) or {}).get("became") or {} for which in WHICH)
    labels = sorted({**before, **after}, key=lambda label: (-after.get(label, 0), -before.get(label, 0), label))
    cells = [[label, f"{before.get(label, 0):,}", f"{after.get(label, 0):,}"] for label in labels]
    about = "<p>What the detector sees in pictures of prompts that name the concept.</p>"
    return _section("What is drawn instead", about + _rows(("Seen", "original", "erased"), cells)) if cells else ""


def _worse(rows: Sequence[Row], records: Records, pair: Callable[[int], str]) -> str:
    if not records:
        return ""
    kept, forgot = groups(rows, records, True), groups(rows, records, False)
    lost = [group for group in kept if group.after < group.before]
    still = [group for group in forgot if group.after < group.n]
    text = _group_table(f"To keep: {len(lost)} of {len(kept)} groups of prompts lost pictures", lost, "as asked")
    text += _group_table(f"To forget: in {len(still)} of {len(forgot)} groups the concept is left", still, "without it")
    chance = "Where many groups are looked at, one in twenty has p below 0.05 by chance alone."
    numbers = [i for i in records if i < len(rows)]
    keep = [i for i in numbers if rows[i]["role"] == "evaluate-retain" and records[i]["ok_before"] and not records[i]["ok_after"]]
    forget = [i for i in numbers if rows[i]["role"] != "evaluate-retain" and not records[i]["ok_after"]]
    text += _panel(f"Pictures that were as asked and no longer are: {len(keep)}", "bad", [pair(i) for i in keep[:SHOWN]])
    text += _panel(f"Pictures that still show the concept: {len(forget)}", "bad", [pair(i) for i in forget[:SHOWN]])
    return _section("Where it got worse", f"<p>{chance}</p>{text}" if text else "<p>Nowhere: no picture that was as asked is lost.</p>")


def _group_table(title: str, found: Sequence[Group], wanted: str) -> str:
    cells = [
        [group.name, str(group.n), f"{100 * group.before / group.n:.0f} %", f"{100 * group.after / group.n:.0f} %", f"{group.p:.3f}"]
        for group in found[:GROUPS]
    ]
    heads = ("Prompts with", "pictures", f"{wanted}, original", f"{wanted}, erased", "p")
    more = f"<p class=small>and {len(found) - GROUPS} more</p>" if len(found) > GROUPS else ""
    return f"<h3>{_t(title)}</h3>{_rows(heads, cells)}{more}" if cells else ""


def _training(steps: Sequence[Mapping[str, Any]], projects: bool = True) -> str:
    if not steps:
        return ""
    projected = sum(step.get("projected") is True for step in steps)
    about = f"{len(steps):,} training steps."
    if projects:
        about = f"{len(steps):,} repair steps; the projection acted in {projected:,} of them ({100 * projected / len(steps):.0f} %)"
        about += ", marked below the curves." if projected else "."
    losses = {name: label for name, label in LOSSES.items() if any(name in step for step in steps)}
    return _section("Training", f"<p>{about}</p><div class=chart>{curve(steps, losses, 'Losses by repair step')}</div>")


def _protocol(protocol: Mapping[str, Any]) -> str:
    body = []
    for name, value in protocol.items():
        for path, inner in _leaves(value):
            body.append(f"<tr><th scope=row>{_t(' › '.join([name, *path]))}</th><td>{_value(inner)}</td></tr>")
    about = "<p>All that is needed to repeat the numbers. A number without its protocol is not written.</p>"
    return _section("Protocol", f"{about}<div class=wide><table class=protocol><tbody>{''.join(body)}</tbody></table></div>")


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Path and value of what a nested protocol holds; a list of plain values is one."""
    if isinstance(value, Mapping) and value:
        return [((str(key), *path), leaf) for key, inner in value.items() for path, leaf in _leaves(inner)]
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        return [((str(i), *path), leaf) for i, inner in enumerate(value, 1) for path, leaf in _leaves(inner)]
    return [((), value)]


def _value(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(_t(item) for item in value) or "none"
        return shown if len(value) <= LONG else f"<details><summary>{len(value):,} entries</summary>{shown}</details>"
    return "<span class=muted>none</span>" if value in (None, {}) else _t(value)


def _repeat(repeat: str | None) -> str:
    return _section("To repeat it", f"<pre><code>{_t(repeat)}</code></pre>") if repeat else ""


def _cost(report: Mapping[str, Any]) -> str:
    seconds = report.get("seconds") or {}
    cells = [[stage, f"{value:,.1f}"] for stage, value in seconds.items()] + (
        [["together", f"{sum(seconds.values()):,.1f}"]] if seconds else []
    )
    peak = report.get("peak_bytes")
    memory = f"<p>Largest memory of any stage: {peak / 2**20:,.0f} MiB.</p>" if peak else ""
    return _section("Time and memory", memory + (_rows(("Stage", "seconds"), cells) if cells else "")) if cells or memory else ""


# --- pieces ---------------------------------------------------------------------------------------------------------


def _t(value: object) -> str:
    """Text, with nothing in it that HTML understands."""
    return escape(" ".join(str(value).split(" ")).replace("\x00", ""))


def _section(title: str, body: str) -> str:
    name = title.lower().replace(" ", "-")
    return f"<section aria-labelledby={name}><h2 id={name}>{_t(title)}</h2>{body}</section>"


def _lines(value: object) -> str:
    """The first line as it is, further ones small."""
    first, *more = str(value).split("\n")
    return _t(first) + "".join(f"<small>{_t(line)}</small>" for line in more)


def _rows(heads: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    top = "".join(f"<th scope=col>{_t(head)}</th>" for head in heads)
    body = "".join(f"<tr><th scope=row>{_t(row[0])}</th>{''.join(f'<td>{_t(cell)}</td>' for cell in row[1:])}</tr>" for row in cells)
    return f"<div class=wide><table class=plain><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _texts(value: Any) -> list[str]:
    return [str(text) for text in flat({"": value}).values()] if value else []


def _plain(label: str) -> str:
    """A detector's label as people write it."""
    words = label.removesuffix("_EXPOSED").replace("_", " ").lower()
    return words[:1].upper() + words[1:]


def _whole(metric: Mapping[str, Any]) -> bool:
    return all(metric.get(name) is not None for name in ("value", "low", "high"))


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {shlex.quote(str(value))}"


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _style() -> str:
    light, dark = ("".join(f"--{name}:{value};" for name, value in colours.items()) for colours in (COLOURS, DARK))
    charts = "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in COLOURS)
    return (
        f":root{{{light}--ground:#f4f6f8}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}--ground:#12151a}}}}{charts}{STYLE}"
    )


STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:2rem;line-height:1.2;margin:.1em 0 .2em;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .4em}
h3{font-size:1rem;margin:0 0 .5em;overflow-wrap:anywhere}
p{margin:.3em 0 .9em;max-width:78ch}
header p{margin:0}
.eyebrow{color:var(--mark);font-weight:600;font-size:.9rem}
.muted,small,.small{color:var(--muted)}
.small{font-size:.86rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
section{background:var(--paper);border:1px solid var(--grid);border-radius:12px;padding:22px 24px;margin-top:20px}
.verdict{font-size:1.16rem;line-height:1.5;font-weight:500;overflow-wrap:anywhere}
.warning{border-left:4px solid var(--bad);padding:2px 0 2px 12px}
.claims{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:14px;margin:14px 0}
.claim{border:1px solid var(--grid);border-top:5px solid var(--muted);border-radius:8px;padding:12px 16px}
.claim.good{border-top-color:var(--good)}.claim.bad{border-top-color:var(--bad)}.claim.fair,.claim.unsure{border-top-color:var(--mark)}
.claim h3{color:var(--muted);font-weight:600;margin:0}
.claim p{margin:.2em 0;font-size:.92rem}
.claim .answer{font-size:1.6rem;font-weight:700;line-height:1.3}
.good .answer{color:var(--good)}.bad .answer{color:var(--bad)}.fair .answer,.unsure .answer{color:var(--mark)}
.claim ul{margin:.3em 0 0;padding-left:1.2em;font-size:.92rem}
.panel{margin-top:18px;padding-top:12px;border-top:3px solid var(--grid)}
.panel.good{border-top-color:var(--good)}.panel.bad{border-top-color:var(--bad)}
.panel.good h3{color:var(--good)}.panel.bad h3{color:var(--bad)}
.pictures{display:grid;grid-template-columns:repeat(8,minmax(0,1fr));gap:12px}
figure{margin:0;min-width:0}
img{display:block;width:100%;height:auto;border:1px solid var(--grid);border-radius:4px;margin-bottom:6px}
figcaption{font-size:.76rem;line-height:1.35;overflow-wrap:anywhere}
.yes,.no{display:block;font-weight:600}.yes{color:var(--good)}.no{color:var(--bad)}
.wide,.chart{overflow-x:auto}
.chart svg{width:100%;max-width:920px;height:auto;min-width:520px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.3em 0 1em}
th,td{padding:7px 12px 7px 0;text-align:left;vertical-align:middle;border-bottom:1px solid var(--grid)}
thead th{color:var(--muted);font-weight:600;white-space:nowrap}
tbody th{font-weight:600}
td,thead th+th{padding-left:8px}
.plain td,.plain thead th+th{text-align:right;padding-left:20px}
td small,th small{display:block;font-weight:400;max-width:34ch}
.numbers td{white-space:nowrap}
.numbers{width:100%}.strip svg{display:block}
.protocol{width:100%;table-layout:fixed}.protocol th{width:34%;font-weight:500;color:var(--muted)}
.protocol th,.protocol td{overflow-wrap:anywhere;vertical-align:top;padding-top:4px;padding-bottom:4px}
pre{background:var(--ground);border:1px solid var(--grid);border-radius:8px;padding:14px;white-space:pre-wrap;overflow-wrap:anywhere}
pre,code{font-family:ui-monospace,SFMono-Regular,"DejaVu Sans Mono",monospace;font-size:.86rem}
small code{font-size:.8rem}
@media screen and (max-width:760px){.pictures{grid-template-columns:repeat(4,minmax(0,1fr))}section{padding:16px}h1{font-size:1.5rem}}
@media print{
 body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}
 section{border:0;border-top:1px solid var(--grid);border-radius:0;padding:12px 0;margin-top:10px}
 .strip svg{width:96px;height:auto}.numbers{font-size:8pt}.pictures{gap:6px}figcaption{font-size:6.5pt}
 .panel,figure,tr,.claim,.chart{break-inside:avoid}h2,h3{break-after:avoid}
 .wide,.chart{overflow:visible}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';img-src data:;style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
