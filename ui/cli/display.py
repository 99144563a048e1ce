"""Progress on a terminal, and libraries whose warnings and progress bars are switched off."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from ui.cli.imports import quick_imports


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


class Display:
    """Progress bars on a terminal, and one line per finished stage; silent elsewhere."""

    TITLES: ClassVar[dict[str, str]] = {
        "memory": "memory",
        "disk": "disk",
        "images": "images to forget and to retain",
        "before": "samples of the original model",
        "latents": "latents and text embeddings",
        "predictions": "predictions of the original",
        "erase": "score, trim, repair",
        "export": "write the model",
        "after": "samples of the erased model",
        "measure": "measure the samples",
    }

    def __init__(self, libraries: bool = True) -> None:
        self.libraries = libraries
        self.bar: Any = None
        self.stage = ""
        first = not int(os.environ.get("RANK", 0))  # of several processes it speaks alone
        self.shown = first and sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Any) -> None:
        if self.libraries:
            quiet_libraries()  # only now, with the input checked: it takes seconds
        if not self.shown:
            return
        if event.note:
            self._close()
            print(f"{self.TITLES.get(event.stage, event.stage):34} {event.note}", file=sys.stderr)
        elif event.total:
            self._advance(event)

    def _advance(self, event: Any) -> None:
        from tqdm import tqdm

        if self.bar is None or self.stage != event.stage:
            self._close()
            title = self.TITLES.get(event.stage, event.stage)
            self.bar, self.stage = (
                tqdm(total=event.total, desc=f"{title:34}", leave=False, dynamic_ncols=True, initial=event.done),
                event.stage,
            )
        if event.step is not None:
            s = event.step
            mark = " projected" if s.projected else ""
            self.bar.set_postfix_str(f"retain {s.retain_loss:.4f} unlearn {s.unlearn_loss:.4f}{mark}", refresh=False)
        self.bar.update(event.done - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def measured(display: Display, folder: Path) -> None:
    """report.json of a run, where it is not there or older than the pictures."""
    from erase.pipeline.job import Event
    from eval.report import evaluate_locked

    made, told = folder / "samples" / "after" / "manifest.jsonl", folder / "report.json"
    if not told.is_file() or told.stat().st_mtime < made.stat().st_mtime:
        evaluate_locked(folder, lambda done, total: display(Event("measure", done, total)))


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
