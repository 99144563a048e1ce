"""Progress on a terminal, and libraries whose warnings and progress bars are switched off."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ui.cli.imports import quick_imports

if TYPE_CHECKING:
    from erase.pipeline.job import Event
    from ui.progress import Progress


@cache
def quiet_libraries() -> None:
    """Switch off the libraries' warnings about themselves and their progress bars."""
    import warnings

    from erase.torchvision_compat import check_torchvision

    check_torchvision()
    with quick_imports():
        import diffusers
        import huggingface_hub
        import transformers

    huggingface_hub.utils.logging.set_verbosity_error()  # its five attempts without a network
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


@dataclass(frozen=True)
class Watched:
    """A run whose progress is shown: the share of its work that earlier commands had done, and when this one began (seconds)."""

    folder: Path
    share: float
    began: float


class Display:
    """Progress bars on a terminal, and one line per finished stage; silent elsewhere.

    Of a run, the bars count what its folder holds against the engine's plan, as those of the page do, and say how much of the whole job
    is done. What has no plan is counted by its own events: parts of a stage, attacks, classifiers.
    """

    def __init__(self, libraries: bool = True) -> None:
        self.libraries = libraries
        self.bar: Any = None
        self.name = ""
        self.counts: dict[str, int] = {}  # of the events that the bar counts, by their stage
        self.watched: Watched | None = None
        first = not int(os.environ.get("RANK", 0))  # of several processes it speaks alone
        self.shown = first and sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        if self.libraries:
            quiet_libraries()  # only now, with the input checked: it takes seconds
        if not self.shown:
            return
        if event.note:
            self._close()
            print(f"{_title(event.stage):34} {event.note}", file=sys.stderr)
        elif event.total:
            self._advance(event)

    def _advance(self, event: Event) -> None:
        progress = self._progress(event)
        name = event.stage.partition(":")[0]  # "images: forget" is a part of "images"
        stage = next((stage for stage in progress.stages if stage.name == name and stage.total), None) if progress else None
        self._turn_to(stage.name if stage else event.stage)
        self.counts[event.stage] = event.done
        # The folder knows what an earlier start has done, and the events what is not written yet.
        total = stage.total if stage else event.total
        done = min(max(stage.done if stage else 0, sum(self.counts.values())), total)
        if self.bar is None:
            self.bar = _bar(total, done)
        if event.step is not None:
            s = event.step
            mark = " projected" if s.projected else ""
            self.bar.set_postfix_str(f"retain {s.retain_loss:.4f} unlearn {s.unlearn_loss:.4f}{mark}", refresh=False)
        self.bar.desc = f"{_title(self.name):34}{self._whole(progress)}"
        self.bar.update(done - self.bar.n)

    def _progress(self, event: Event) -> Progress | None:
        """What the folder of a run holds; None without a plan."""
        from ui.progress import read_progress

        progress = read_progress(event.folder) if event.folder else None
        if event.folder is None or progress is None or progress.plan is None:
            return None
        if self.watched is None or self.watched.folder != event.folder:
            self.watched = Watched(event.folder, progress.share, time.monotonic())
        return progress

    def _whole(self, progress: Progress | None) -> str:
        """The share of the whole job that is done, and the time left, before the bar of a stage."""
        if progress is None or self.watched is None:
            return ""
        from erase.concepts.english import spoken_duration
        from ui.progress import seconds_left

        left = seconds_left(progress, self.watched.share, time.monotonic() - self.watched.began)
        rest = "" if left is None else f", {spoken_duration(left)} left"
        return f"{progress.share:.0%} of the job{rest} "

    def _turn_to(self, name: str) -> None:
        """Close the bar of another stage."""
        if self.name != name:
            self._close()
            self.name, self.counts = name, {}

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _title(stage: str) -> str:
    """What a stage does; of what is no stage of a job, its name."""
    from ui.progress import STAGES

    titles = {name: title[:1].lower() + title[1:] for name, title in STAGES.items()}
    return {**titles, "predictions": "predictions of the original"}.get(stage, stage)


def _bar(total: int, done: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=done, leave=False, dynamic_ncols=True)


def measured(display: Display, folder: Path) -> None:
    """report.json of a run, where it is not there or older than the pictures."""
    from erase.pipeline.job import Event
    from eval.report import evaluate_locked

    made, told = folder / "samples" / "after" / "manifest.jsonl", folder / "report.json"
    if not told.is_file() or told.stat().st_mtime < made.stat().st_mtime:
        evaluate_locked(folder, lambda done, total: display(Event("measure", done, total, folder=folder)))


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in widths}, *rows]:
        print("  ".join(f"{row[key]!s:{width}}" for key, width in widths.items()).rstrip())


def shell_line(*words: object) -> str:
    """A command that a shell takes as it is printed, whatever characters its words have."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def results(folder: Path) -> str:
    return f"pictures  {folder / 'comparison.png'}\nreport    {folder / 'report.html'}"
