"""A job as HTML: its place in the queue, stages, time left, losses, preview images, the verdict.

Reads the run folder, changes nothing. Whatever a visitor or a process wrote is escaped.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from erase.concepts import EMBEDDED
from erase.concepts.english import spoken_duration
from erase.demo.worlds import known_model
from eval.measurement.report_file import read_report
from eval.rendering.claims import Claim
from eval.rendering.html import thumbnail
from eval.rendering.losses import losses_of
from eval.rendering.verdict import RULE, verdict
from ui.progress import Progress, Stage, preview, read_progress, seconds_left
from ui.web.example.unpack import NAME
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STATES, STOPPED, STOPPING, WAITING, Entry, failure
from ui.web.units import unbroken

SHEET = 1400  # pixels of a comparison's width at most
STRIP = 9  # steps of the preview at most
CHART = 480.0  # pixels: wide enough for a column, and still to be read on a phone
GUESS = 0.1  # share of a job that the bar may be ahead of what is complete
NOTHING = (
    "<p>Nothing has been started here yet. Fill in the form and click <b>Start erasing</b>; then you see here, as it happens:</p>"
    "<ol class=promise><li>images of the concept and of everything else are drawn,</li>"
    "<li>the weights on which the concept depends are trimmed,</li><li>the rest is repaired, with images on the way,</li>"
    "<li>and both models are measured: is it gone, is the rest kept?</li></ol>"
)
EXAMPLE = f'<p>Such a job has been done for you: <a href="?run={NAME}">a beer mug, erased from a model that draws emoji</a>.</p>'


@dataclass(frozen=True)
class View:
    """The parts of a job's display; `active`: it may still change; `covered`: its images are blurred unless the visitor ticks a box."""

    head: str = NOTHING
    curves: str = ""
    pictures: str = ""
    stages: str = ""
    verdict: str = ""
    log: str = ""
    covered: bool = False
    active: bool = False
    can_stop: bool = False
    can_resume: bool = False
    finished: bool = False


def view(entry: Entry | None, ahead: int, show: bool, wait: float | None = None, log: str = "") -> View:
    """The display of a job. `ahead` jobs come before this one and take about `wait` seconds; `show`: no image is blurred.

    `log`: what its process printed, for whoever may see it.
    """
    if entry is None:
        return View()
    folder = Path(entry.output)
    progress = None if entry.state == WAITING and not entry.started and not folder.exists() else read_progress(folder)
    done, covered = entry.state == DONE, progress is None or not _embedded(str(progress.options.get("model")))
    pictures = strip(folder, show or not covered)
    return View(
        head(entry, ahead, progress, wait),
        losses(progress),
        pictures,
        _stages(entry, progress) if progress else "",
        _outcome(folder, show or not covered) if done else "",
        f"<pre class=log tabindex=0>{escape(log)}</pre>" if log else "",
        covered and bool(pictures),
        entry.active,
        entry.state in (WAITING, RUNNING),
        entry.state in (STOPPED, FAILED),
        done and (folder / "report.json").is_file(),
    )


def head(entry: Entry, ahead: int, progress: Progress | None, wait: float | None = None) -> str:
    """Title and state, what it does at the moment, and the time left. The browser's tab takes its title from here."""
    badge = f'<span class="badge {entry.state}">{STATES[entry.state]}</span>'
    words = escape(_words(entry, ahead, progress, wait))
    role = "alert" if entry.state == FAILED else "status"
    css = "problem" if entry.state == FAILED else "words"
    share = shown_share(entry, progress) if entry.active else 0.0
    title = f"{100 * share:.0f} %" if entry.state == RUNNING else STATES[entry.state]
    facts = f'data-job="{entry.id}" data-state="{entry.state}" data-title="{escape(f"{title} · {entry.title}")}"'
    top = f'<h2 class="job" {facts}>{escape(entry.title)} {badge}</h2><p class="name muted">{escape(entry.name)}</p>'
    if entry.state == RUNNING:
        bar = f'<progress class=whole value="{share:.3f}" max="1" aria-label="all stages together"></progress>'
        top += f"{bar}<p class=clock>{escape(clock(entry, progress))}</p>"
    return f'{top}<p role="{role}" class="{css}">{words}</p>'


def losses(progress: Progress | None) -> str:
    """The curves so far, and how often the projection acted."""
    if progress is None:
        return ""
    method = progress.options["method_options"]
    training = losses_of(progress.steps, "projected" in method, method.get("steps", len(progress.steps)), CHART)
    return f"<p class=muted>{training.sentence}</p><div class=chart>{training.chart}</div>" if training else ""


def strip(folder: Path, show: bool) -> str:
    """The same prompts and seeds through the model as it changes: for each prompt the last step large, and the way there below it."""
    prompts, images = preview(folder)
    if not images:
        return ""
    steps, last = _spread(sorted(images), STRIP), max(images)
    cards = []
    for number, prompt in enumerate(prompts or [""] * max(map(len, images.values()))):
        latest = max((step for step in images if number < len(images[step])), default=last)
        large = _figure(images[latest][number], latest, prompt, show, "latest") if number < len(images[latest]) else ""
        way = "".join(_figure(images[step][number], step, prompt, show) for step in steps if number < len(images[step]))
        label = escape(prompt)
        row = f'<div class="strip" role="group" aria-label="{label}, step by step">{way}</div>'
        cards.append(f"<section><p class=prompt>{label}</p>{large}{row}</section>")
    hidden = "" if show else "<p class=muted>Blurred, since no detector looks for nudity in these. Tick the box above to see them.</p>"
    return f"{hidden}<div class=previews>{''.join(cards)}</div>"


def _outcome(folder: Path, show: bool) -> str:
    """The verdict of a finished run, the way to its page, and its comparison sheet."""
    said = sentence(folder)
    return (said + link(folder) if said else "") + sheet(folder, show)


def link(folder: Path) -> str:
    """The way to the run's own page."""
    return f'<p class=open><a href="?run={quote(folder.name)}">Open the page of this run</a>: report, attacks, export.</p>'


def sentence(folder: Path) -> str:
    """The verdict of a finished run in words."""
    try:
        report = read_report(folder / "report.json")
        result = verdict(report)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    claims = "".join(_claim(question, claim) for question, claim in result.questions().items())
    return f"<div class=claims>{claims}</div><details class=muted><summary>What these words mean</summary>{escape(RULE)}</details>"


def sheet(folder: Path, show: bool) -> str:
    """The comparison sheet of a finished run; left out where its images should be blurred."""
    path = folder / "comparison.png"
    if not show or not path.is_file():
        return ""
    address = _large(str(path), path.stat().st_mtime_ns)
    return f'<p><img class=sheet src="{address}" alt="the same prompts and seeds, above the original, below the erased model"></p>'


def _claim(question: str, claim: Claim) -> str:
    answer = f"<p class=question>{escape(question)}</p><p class=answer>{claim.answer}</p>"
    return f'<div class="claim {claim.level}">{answer}<p>{unbroken(claim.detail)}.</p></div>'


def queue_list(entries: Sequence[Entry], own: Callable[[Entry], bool]) -> str:
    """The queue, for everybody: the order of its jobs, and the names of those that are the visitor's own."""
    active = [entry for entry in entries if entry.active]
    if not active:
        return "<p class=muted>No jobs are waiting: yours starts right away.</p>"
    items = "".join(f"<li>{escape(entry.title) if own(entry) else 'another visitor’s job'}: {STATES[entry.state]}</li>" for entry in active)
    return f"<ol class=queue>{items}</ol>"


def _words(entry: Entry, ahead: int, progress: Progress | None, wait: float | None) -> str:
    """The state in a sentence; without seconds, since a screen reader reads it out whenever it changes."""
    if entry.state == WAITING:
        about = f"; the first of them needs about {spoken_duration(wait)} more" if wait else ""
        return f"{ahead} {'job is' if ahead == 1 else 'jobs are'} before this one{about}." if ahead else "It starts next."
    if entry.state == RUNNING:
        stage = progress.current if progress else None
        if stage:
            return f"{stage.title}{f': {stage.done} of {stage.total}' if stage.done and stage.total else ''}."
        return "Finishing: the report is written." if progress else "Starting: the model and its libraries are being loaded."
    if entry.state == STOPPING:
        return "It writes its last files and stops; finished work is kept."
    if entry.state == STOPPED:
        step = f" from step {len(progress.steps)}" if progress and progress.steps else ""
        return f"Stopped. Click Resume to continue{step}."
    return "All stages are done." if entry.state == DONE else f"{failure(entry)}."


def clock(entry: Entry, progress: Progress | None) -> str:
    """Time so far and time left: at the pace of this job, and until there is one by the estimate made before the start."""
    passed = time.time() - entry.started
    left = seconds_left(progress, entry.head, passed) if progress else None
    by = ""
    if left is None and entry.expected:
        left, by = entry.expected * (1 - entry.head) - passed, ", by the estimate"
        if left < 1:
            return f"{spoken_duration(passed)} so far, longer than was estimated"
    rest = f"about {spoken_duration(left)} left{by}" if left is not None else "time left: not known yet"
    return f"{spoken_duration(passed)} so far, {rest}"


def shown_share(entry: Entry, progress: Progress | None) -> float:
    """The share that is done; while the first pieces are not complete, by the time that has passed of what was estimated."""
    done = progress.share if progress else 0.0
    passed = time.time() - entry.started
    if not entry.expected or entry.state != RUNNING or (progress and seconds_left(progress, entry.head, passed) is not None):
        return done
    return max(done, min(entry.head + passed / entry.expected, done + GUESS))


def _stages(entry: Entry, progress: Progress) -> str:
    current = progress.current
    return f"<ol class=stages>{''.join(_stage(stage, stage is current and entry.state == RUNNING) for stage in progress.stages)}</ol>"


def _stage(stage: Stage, now: bool) -> str:
    mark, css = ("✓", "done") if stage.seconds is not None else ("▸", "now") if now else ("·", "later")
    if stage.seconds is not None:
        right = f"{stage.seconds:.1f} s" if stage.seconds else "done"
    else:
        right = (f"{stage.done} of {stage.total}" if stage.total else str(stage.done)) if stage.done else ""
    bar = f'<progress value="{stage.share:.3f}" max="1" aria-label="{escape(stage.title)}"></progress>' if now else ""
    return f'<li class={css}><span aria-hidden="true">{mark}</span> {escape(stage.title)} <span class=right>{right}</span>{bar}</li>'


def _figure(path: Path, step: int, prompt: str, show: bool, css: str = "") -> str:
    address = _address(str(path), path.stat().st_mtime_ns if path.exists() else 0, not show)
    caption = f"step {step}" if step else "original"
    alt = f"{'' if show else 'blurred: '}{prompt}, {f'after {caption}' if step else caption}"
    image = f'<img src="{address}" alt="{escape(alt)}">' if address else ""
    return f'<figure class="{css}">{image}<figcaption>{f"now, {caption}" if css and step else caption}</figcaption></figure>'


@lru_cache(maxsize=64)
def _embedded(model: str) -> bool:
    """Whether a model is an embedded one, or erased from one: such images need no blur."""
    return model in EMBEDDED or known_model(model) is not None


@lru_cache(maxsize=256)
def _address(path: str, changed: int, hide: bool) -> str:
    """An image as a data URL; empty where the file is incomplete."""
    try:
        return thumbnail(Path(path), hide)
    except Exception:  # Pillow's decoders raise many kinds
        return ""


@lru_cache(maxsize=8)
def _large(path: str, changed: int) -> str:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((SHEET, 4 * SHEET), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "webp", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """The first, the last, and steps at even distances between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
