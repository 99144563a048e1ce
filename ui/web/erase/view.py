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

from PIL import Image

from erase.concepts import EMBEDDED
from erase.concepts.english import spoken_duration
from eval.measurement.report_file import read_report
from eval.rendering.claims import Claim
from eval.rendering.html import thumbnail
from eval.rendering.losses import losses_of
from eval.rendering.verdict import RULE, verdict
from ui.progress import Progress, Stage, preview, read_progress, seconds_left
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STATES, STOPPED, STOPPING, WAITING, Entry, failure

SHEET = 1400  # pixels of a comparison's width at most
STRIP = 9  # steps of the preview at most
NOTHING = "<p class=muted>Nothing has been started here yet. Fill in the form and click <b>Start erasing</b>.</p>"


@dataclass(frozen=True)
class View:
    """The parts of a job's display; `active`: it may still change; `covered`: its images are blurred unless the visitor ticks a box."""

    head: str = NOTHING
    curves: str = ""
    pictures: str = ""
    verdict: str = ""
    covered: bool = False
    active: bool = False
    can_stop: bool = False
    can_resume: bool = False
    finished: bool = False


def view(entry: Entry | None, ahead: int, show: bool, wait: float | None = None) -> View:
    """The display of a job. `ahead` jobs come before this one and take about `wait` seconds; `show`: no image is blurred."""
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
    words = escape(_words(entry, ahead, progress, wait))
    role = "alert" if entry.state == FAILED else "status"
    css = "problem" if entry.state == FAILED else "words"
    top = f'<h3 class="job">{escape(entry.title)} {badge}</h3><p role="{role}" class="{css}">{words}</p>'
    if progress is None:
        return top
    clock = f"<p class=clock>{escape(_clock(entry, progress))}</p>" if entry.state == RUNNING else ""
    bar = f'<progress class=whole value="{progress.share:.3f}" max="1" aria-label="all stages together"></progress>'
    return f"{top}{bar}{clock}{_stages(entry, progress)}"


def losses(progress: Progress | None) -> str:
    """The curves so far, and how often the projection acted."""
    if progress is None:
        return ""
    method = progress.options["method_options"]
    training = losses_of(progress.steps, "projected" in method, method.get("steps", len(progress.steps)))
    return f"<p class=muted>{training.sentence}</p><div class=chart>{training.chart}</div>" if training else ""


def strip(folder: Path, show: bool) -> str:
    """The same prompts and seeds through the model as it changes: one row per prompt, the first step on the left."""
    prompts, images = preview(folder)
    if not images:
        return ""
    steps = _spread(sorted(images), STRIP)
    rows = []
    for number, prompt in enumerate(prompts or [""] * max(map(len, images.values()))):
        figures = "".join(_figure(images[step][number], step, prompt, show) for step in steps if number < len(images[step]))
        label = escape(prompt)
        rows.append(f'<p class=prompt>{label}</p><div class="strip" tabindex="0" role="group" aria-label="{label}">{figures}</div>')
    hidden = "" if show else "<p class=muted>Blurred, since no detector looks for nudity in these. Tick the box above to see them.</p>"
    return f"{hidden}{''.join(rows)}"


def sentence(folder: Path) -> str:
    """The verdict of a finished run in words."""
    try:
        report = read_report(folder / "report.json")
        result = verdict(report)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    claims = "".join(_claim(question, claim) for question, claim in result.questions().items())
    return f"<div class=claims>{claims}</div><p class=muted>{escape(RULE)}</p>"


def sheet(folder: Path, show: bool) -> str:
    """The comparison sheet of a finished run; left out where its images should be blurred."""
    path = folder / "comparison.png"
    if not show or not path.is_file():
        return ""
    address = _large(str(path), path.stat().st_mtime_ns)
    return f'<p><img class=sheet src="{address}" alt="the same prompts and seeds, above the original, below the erased model"></p>'


def _claim(question: str, claim: Claim) -> str:
    answer = f"<p class=question>{escape(question)}</p><p class=answer>{claim.answer}</p>"
    return f'<div class="claim {claim.level}">{answer}<p>{escape(claim.detail)}.</p></div>'


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
            return f"{stage.title}."
        return "Finishing." if progress else "Starting: the model and its libraries are being loaded."
    if entry.state == STOPPING:
        return "It writes its last files and stops; finished work is kept."
    if entry.state == STOPPED:
        step = f" from step {len(progress.steps)}" if progress and progress.steps else ""
        return f"Stopped. Click Resume to continue{step}."
    return "All stages are done." if entry.state == DONE else f"{failure(entry)}."


def _clock(entry: Entry, progress: Progress) -> str:
    passed = time.time() - entry.started
    left = seconds_left(progress, entry.head, passed)
    rest = f"about {spoken_duration(left)} left" if left is not None else "time left: not known yet"
    return f"{spoken_duration(passed)} so far, {rest}"


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


def _figure(path: Path, step: int, prompt: str, show: bool) -> str:
    address = _address(str(path), path.stat().st_mtime_ns if path.exists() else 0, not show)
    caption = f"step {step}" if step else "original"
    alt = f"{'' if show else 'blurred: '}{prompt}, {f'after {caption}' if step else caption}"
    image = f'<img src="{address}" alt="{escape(alt)}">' if address else ""
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


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
