"""A job as it stands, as HTML: where it is in the line, stages, time left, curves, the pictures it draws on the way, the verdict.

Reads the run folder, changes nothing. Whatever a visitor or a process wrote is escaped.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image

from erase.concepts import EMBEDDED
from eval.rendering.charts import curve
from eval.rendering.html import ANSWERS, thumbnail
from eval.rendering.verdict import RULE, verdict
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STATES, STOPPED, STOPPING, WAITING, Entry
from ui.web.jobs.progress import Progress, Stage, preview, read_progress, seconds_left
from ui.web.units import duration

LOSSES = {"retain_loss": "Loss on what is kept", "unlearn_loss": "Unlearning loss"}
SHEET = 1400  # pixels of a comparison's width at most
STRIP = 9  # steps of the preview that are shown at most
NOTHING = "<p class=muted>Nothing has been started here yet. Fill in the form and press <b>Start erasing</b>.</p>"


@dataclass(frozen=True)
class View:
    """What the page shows of a job; `active` while it may still change; `covered`: its pictures are blurred unless asked for."""

    head: str = NOTHING
    curves: str = ""
    pictures: str = ""
    verdict: str = ""
    covered: bool = False
    active: bool = False
    can_stop: bool = False
    can_go_on: bool = False
    finished: bool = False


def view(entry: Entry | None, ahead: int, show: bool, wait: float | None = None) -> View:
    """All of it. `ahead` jobs come before this one, in about `wait` seconds; `show`: pictures as they are, none blurred."""
    if entry is None:
        return View()
    folder = Path(entry.output)
    progress = None if entry.state == WAITING and not entry.started and not folder.exists() else read_progress(folder)
    done, covered = entry.state == DONE, progress is None or progress.options.get("model") not in EMBEDDED
    pictures = strip(folder, show or not covered)
    return View(
        head(entry, ahead, progress, wait),
        losses(progress),
        pictures,
        sentence(folder) + sheet(folder, show or not covered) if done else "",
        covered and bool(pictures),
        entry.active,
        entry.state in (WAITING, RUNNING),
        entry.state in (STOPPED, FAILED),
        done and (folder / "report.json").is_file(),
    )


def head(entry: Entry, ahead: int, progress: Progress | None, wait: float | None = None) -> str:
    """Title and state, then the stages."""
    badge = f'<span class="badge {entry.state}">{STATES[entry.state]}</span>'
    said = escape(_said(entry, ahead, progress, wait))
    role = "alert" if entry.state == FAILED else "status"
    css = "problem" if entry.state == FAILED else "said"
    top = f'<h3 class="job">{escape(entry.title)} {badge}</h3><p role="{role}" class="{css}">{said}</p>'
    if progress is None:
        return top
    clock = f"<p class=clock>{escape(_clock(entry, progress))}</p>" if entry.state == RUNNING else ""
    bar = f'<progress class=whole value="{progress.share:.3f}" max="1" aria-label="all stages together"></progress>'
    return f"{top}{bar}{clock}{_stages(entry, progress)}"


def losses(progress: Progress | None) -> str:
    """The curves so far, and how often the projection acted."""
    if progress is None or not progress.steps:
        return ""
    count = sum(step.get("projected") is True for step in progress.steps)
    n, method = len(progress.steps), progress.options["method_options"]
    about = f"{n} of {method.get('steps', n)} steps"
    if "projected" in method:
        about = f"{n} of {method.get('steps', n)} repair steps; projected in {count} of them ({100 * count / n:.0f} %)"
    names = {name: label for name, label in LOSSES.items() if any(name in step for step in progress.steps)}
    drawn = curve(progress.steps, names, "Losses by repair step")
    return f"<p class=muted>{about}{', marked below the curves' if count else ''}.</p><div class=chart>{drawn}</div>"


def strip(folder: Path, show: bool) -> str:
    """The same prompts and seeds through the model as it changes: a row for each prompt, the first step at the left."""
    prompts, found = preview(folder)
    if not found:
        return ""
    steps = _spread(sorted(found), STRIP)
    rows = []
    for number, prompt in enumerate(prompts or [""] * max(map(len, found.values()))):
        figures = "".join(_figure(found[step][number], step, prompt, show) for step in steps if number < len(found[step]))
        label = escape(prompt)
        rows.append(f'<p class=prompt>{label}</p><div class="strip" tabindex="0" role="group" aria-label="{label}">{figures}</div>')
    hidden = "" if show else "<p class=muted>Blurred: nothing looks for nudity in these. Tick the box above to see them.</p>"
    return f"{hidden}{''.join(rows)}"


def sentence(folder: Path) -> str:
    """The verdict of a finished run in words."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        said = verdict(report)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    gone = _claim(f"Is “{said.concept}” gone?", said.forgotten.level, f"“{said.concept}” {said.forgotten.clause()}")
    claims = gone + _claim("Is the rest kept?", said.kept.level, said.kept.clause())
    return f"<div class=claims>{claims}</div><p class=muted>{escape(RULE)}</p>"


def sheet(folder: Path, show: bool) -> str:
    """The comparison sheet of a finished run; it is left out where its pictures should not be seen unasked."""
    path = folder / "comparison.png"
    if not show or not path.is_file():
        return ""
    address = _large(str(path), path.stat().st_mtime_ns)
    return f'<p><img class=sheet src="{address}" alt="the same prompts and seeds, above the original, below the erased model"></p>'


def _claim(question: str, level: str, words: str) -> str:
    answer = f"<p class=question>{escape(question)}</p><p class=answer>{ANSWERS[level]}</p>"
    return f'<div class="claim {level}">{answer}<p>{escape(words[:1].upper() + words[1:])}.</p></div>'


def line(entries: Sequence[Entry], shown: Callable[[Entry], bool]) -> str:
    """The jobs in the line, for everybody: their order, and the names of those that are the visitor's own."""
    active = [entry for entry in entries if entry.active]
    if not active:
        return "<p class=muted>The line is empty: a job starts at once.</p>"
    items = "".join(
        f"<li>{escape(entry.title) if shown(entry) else 'another visitor’s job'}: {STATES[entry.state]}</li>" for entry in active
    )
    return f"<ol class=line>{items}</ol>"


def _said(entry: Entry, ahead: int, progress: Progress | None, wait: float | None) -> str:
    """The state in a sentence; without seconds, since a screen reader reads it out whenever it changes."""
    if entry.state == WAITING:
        about = f", about {duration(wait)} for the first of them" if wait else ""
        return f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before this one{about}." if ahead else "It starts in a moment."
    if entry.state == RUNNING:
        stage = progress.current if progress else None
        return f"{stage.title}." if stage else "Starting: the model and its libraries are loaded."
    if entry.state == STOPPING:
        return "It writes its last files and stops; what is done is kept."
    return {DONE: "All stages are done.", STOPPED: "Stopped. It goes on where it was."}.get(entry.state, f"{entry.message}.")


def _clock(entry: Entry, progress: Progress) -> str:
    passed = time.time() - entry.started
    left = seconds_left(progress, entry.head, passed)
    return f"{duration(passed)} so far, " + (f"about {duration(left)} left" if left is not None else "time left: not known yet")


def _stages(entry: Entry, progress: Progress) -> str:
    current = progress.current
    return f"<ol class=stages>{''.join(_stage(stage, stage is current and entry.state == RUNNING) for stage in progress.stages)}</ol>"


def _stage(stage: Stage, now: bool) -> str:
    mark, css = ("✓", "done") if stage.seconds is not None else ("▸", "now") if now else ("·", "later")
    if stage.seconds is not None:
        right = f"{stage.seconds:.1f} s" if stage.seconds else "done"
    else:
        right = f"{stage.done} of {stage.total}" if stage.done else ""
    bar = f'<progress value="{stage.share:.3f}" max="1" aria-label="{escape(stage.title)}"></progress>' if now else ""
    return f'<li class={css}><span aria-hidden="true">{mark}</span> {escape(stage.title)} <span class=right>{right}</span>{bar}</li>'


def _figure(path: Path, step: int, prompt: str, show: bool) -> str:
    address = _address(str(path), path.stat().st_mtime_ns if path.exists() else 0, not show)
    when = f"after step {step}" if step else "original"
    alt = f"{'' if show else 'blurred: '}{prompt}, {when}"
    picture = f'<img src="{address}" alt="{escape(alt)}">' if address else ""
    return f"<figure>{picture}<figcaption>{f'step {step}' if step else when}</figcaption></figure>"


@lru_cache(maxsize=256)
def _address(path: str, changed: int, hide: bool) -> str:
    """A picture as a data address; empty where it is only half there."""
    try:
        return thumbnail(Path(path), hide)
    except Exception:  # Pillow's decoders raise many kinds
        return ""


@lru_cache(maxsize=8)
def _large(path: str, changed: int) -> str:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((SHEET, 4 * SHEET), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "webp", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """The first, the last, and evenly many between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
