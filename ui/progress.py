"""The progress of a run, read from its folder: stages, images, steps, time left. The page and the command show it.

The engine's plan (`erase.pipeline.plan`) says how many pieces of work each stage has and what they cost; here they are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.pipeline.plan import Plan, read_plan
from erase.run import Run, read_lines

STAGES = {
    "images": "Images to forget and to retain",
    "before": "Samples of the original",
    "latents": "Latents and text embeddings",
    "erase": "Score, trim, repair",
    "export": "Write the model",
    "after": "Samples of the erased model",
    "measure": "Measure the samples",
}
PACE = 0.02  # share of the work after which the time left is estimated


@dataclass(frozen=True)
class Stage:
    """One stage: `done` of `total` pieces (0: unknown), and `seconds` when it is complete."""

    name: str
    title: str
    done: int
    total: int
    seconds: float | None

    @property
    def share(self) -> float:
        """The share of its pieces that is done."""
        return 1.0 if self.seconds is not None else min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Progress:
    """A run as it is now. `plan` is None for a run of an earlier version."""

    stages: tuple[Stage, ...]
    steps: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    plan: Plan | None = None

    @property
    def current(self) -> Stage | None:
        """The first stage that is not complete."""
        return next((stage for stage in self.stages if stage.seconds is None), None)

    @property
    def share(self) -> float:
        """The share of all work that is done; without a plan, of the stages."""
        if self.plan is not None:
            return self.plan.share({stage.name: stage.share for stage in self.stages})
        return sum(stage.seconds is not None for stage in self.stages) / len(self.stages)

    @property
    def projected(self) -> float | None:
        """The share of the steps so far that were projected; None before the first."""
        return sum(step.get("projected") is True for step in self.steps) / len(self.steps) if self.steps else None


def read_progress(folder: Path) -> Progress | None:
    """None while the folder is not a run yet, or is one of another kind (an evaluation)."""
    try:
        run = Run.read(folder)
        options, complete, steps = run.options, run.stages(), run.steps()
    except (InputError, OSError, ValueError):  # just being written, or removed
        return None
    if not isinstance(options.get("method_options"), Mapping):
        return None
    if run.report.exists():
        complete = {**complete, "measure": {"seconds": 0.0}}
    plan, done = read_plan(folder), _done(run, len(steps))
    stages = tuple(
        Stage(name, title, done[name], _total(plan, name), complete[name].get("seconds", 0.0) if name in complete else None)
        for name, title in STAGES.items()
    )
    return Progress(stages, tuple(steps), options, plan)


def seconds_left(progress: Progress, share_before: float, seconds: float) -> float | None:
    """The time left at the pace since the job began, when `share_before` had been done; None while there is no pace."""
    done = progress.share - share_before
    return (1 - progress.share) * seconds / done if done > PACE and seconds > 1 else None


def _total(plan: Plan | None, name: str) -> int:
    """The pieces that `_done` counts of a stage: of the repair its steps, of every other stage all."""
    if plan is None:
        return 0
    stage = plan.stage(name)
    return stage.pieces.get("steps", 0) if name == "erase" else stage.total


def _done(run: Run, steps: int) -> dict[str, int]:
    """Stage -> how many of its pieces are in the run folder."""
    return {
        "images": sum(_lines(folder / "manifest.jsonl") for folder in (run.forget_images, run.retain_images, run.anchor_images)),
        "before": _lines(run.samples("before") / "manifest.jsonl"),
        "latents": 0,
        "erase": steps,
        "export": 0,
        "after": _lines(run.samples("after") / "manifest.jsonl"),
        "measure": sum(_lines(path) for path in (run.folder / "measured").glob("*.jsonl")),
    }


def _lines(path: Path) -> int:
    """Of a .jsonl file that may be growing, or not exist."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def preview(folder: Path) -> tuple[list[str], dict[int, list[Path]]]:
    """The prompts that are drawn while the model changes, and the images by step; empty where there is no preview."""
    try:
        prompts = [str(record.get("prompt") or record.get("text") or "") for record in read_lines(folder / "preview" / "prompts.jsonl")]
    except InputError:
        prompts = []
    images: dict[int, list[Path]] = {}
    for path in sorted((folder / "preview").glob("*-*.png")):
        step = path.stem.split("-")[0]
        if step.isdecimal():
            images.setdefault(int(step), []).append(path)
    return prompts, images
