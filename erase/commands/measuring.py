"""Runs that others put side by side, measured where they are not."""

from __future__ import annotations

from pathlib import Path

from erase.commands.display import Display


def measured(display: Display, folder: Path) -> None:
    """report.json of a run, where it is not there or older than the pictures."""
    from erase.job import Event
    from eval.report import evaluate_run

    made, told = folder / "samples" / "after" / "manifest.jsonl", folder / "report.json"
    if not told.is_file() or told.stat().st_mtime < made.stat().st_mtime:
        evaluate_run(folder, lambda done, total: display(Event("measure", done, total)))
