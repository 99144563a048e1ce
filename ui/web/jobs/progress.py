"""How far a run is, read from its folder: stages, pictures, steps, time left. Looks only; another process writes.

Work is counted in passes through the UNet, which is where the time goes: a picture is its denoising steps (twice with guidance), a
repair step three passes (forward and back) over a batch to forget and one to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.run import Run, read_lines

STAGES = {
    "images": "Pictures to forget and to keep",
    "before": "What the original draws",
    "latents": "Latents and text embeddings",
    "erase": "Score, trim, repair",
    "export": "Write the model",
    "after": "What the erased model draws",
    "measure": "Measure the pictures",
}
ROUNDS = 128  # batches whose predictions the engine keeps


@dataclass(frozen=True)
class Stage:
    """One stage: `done` of `total` pieces, `seconds` when it is complete, and its work in passes through the UNet."""

    name: str
    title: str
    done: int
    total: int
    seconds: float | None
    passes: float

    @property
    def share(self) -> float:
        return 1.0 if self.seconds is not None else min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Progress:
    """A run as it stands."""

    stages: tuple[Stage, ...]
    steps: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]

    @property
    def current(self) -> Stage | None:
        """The first stage that is not complete."""
        return next((stage for stage in self.stages if stage.seconds is None), None)

    @property
    def share(self) -> float:
        """Of all work that is done."""
        whole = sum(stage.passes for stage in self.stages)
        return sum(stage.passes * stage.share for stage in self.stages) / whole if whole else 0.0

    @property
    def projected(self) -> float | None:
        """Share of the steps so far that were projected; None before the first."""
        return sum(step.get("projected") is True for step in self.steps) / len(self.steps) if self.steps else None


def read_progress(folder: Path) -> Progress | None:
    """None while the folder is no run yet, or is one of another kind (an evaluation)."""
    try:
        run = Run.read(folder)
        options, noted, steps = run.options, run.stages(), run.steps()
    except (InputError, OSError, ValueError):  # just being written, or gone
        return None
    method = options.get("method_options")
    if not isinstance(method, Mapping):
        return None
    finished = {**noted, **({"measure": {"seconds": 0.0}} if run.report.exists() else {})}
    pieces = _pieces(run, options, method, len(steps))
    passes = _passes(options, method, {name: total for name, (_, total) in pieces.items()})
    stages = tuple(
        Stage(name, title, *pieces[name], finished[name].get("seconds", 0.0) if name in finished else None, passes[name])
        for name, title in STAGES.items()
    )
    return Progress(stages, tuple(steps), options)


def seconds_left(progress: Progress, share_before: float, seconds: float) -> float | None:
    """What is left at the pace since the job began, `share_before` having been done by then; None while there is no pace."""
    done = progress.share - share_before
    return (1 - progress.share) * seconds / done if done > 0.02 and seconds > 1 else None


def _pieces(run: Run, options: Mapping[str, Any], method: Mapping[str, Any], steps: int) -> dict[str, tuple[int, int]]:
    """Stage -> how many pieces are there, and how many there will be."""
    forget, retain, asked = (int(options.get(name) or 0) for name in ("forget_count", "retain_count", "evaluate_count"))
    anchors = forget if method.get("unlearn") == "anchor" and method.get("anchor_pictures") else 0
    samples = _lines(run.folder / "samples" / "prompts.jsonl") or 2 * asked + asked // 2
    drawn = sum(_lines(folder / "manifest.jsonl") for folder in (run.forget_images, run.retain_images, run.anchor_images))
    measured = sum(_lines(path) for path in (run.folder / "measured").glob("*.jsonl"))
    return {
        "images": (drawn, forget + retain + anchors),
        "before": (_lines(run.samples("before") / "manifest.jsonl"), samples),
        "latents": (0, forget + retain + anchors),
        "erase": (steps, int(method.get("steps") or 0)),
        "export": (0, 1),
        "after": (_lines(run.samples("after") / "manifest.jsonl"), samples),
        "measure": (measured, 2 * samples),
    }


def _passes(options: Mapping[str, Any], method: Mapping[str, Any], totals: Mapping[str, int]) -> dict[str, float]:
    picture = int(options.get("sampling_steps") or 1) * (2.0 if float(options.get("guidance") or 0) > 1 else 1.0)
    batch, steps = int(method.get("batch") or 1), int(method.get("steps") or 0)
    prepared = 2 * batch * min(steps, ROUNDS) + 3 * batch * int(method.get("sensitivity_batches") or 0)
    return {
        "images": picture * totals["images"],
        "before": picture * totals["before"],
        "latents": 0.5 * totals["latents"],
        "erase": 6.0 * batch * steps + prepared,
        "export": 1.0,
        "after": picture * totals["after"],
        "measure": 0.5 * totals["measure"],
    }


def _lines(path: Path) -> int:
    """Of a .jsonl file that may be growing, or not be there."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def preview(folder: Path) -> tuple[list[str], dict[int, list[Path]]]:
    """The prompts that are drawn while the model changes, and the pictures by step; nothing where they were not asked for."""
    try:
        prompts = [str(record.get("prompt") or record.get("text") or "") for record in read_lines(folder / "preview" / "prompts.jsonl")]
    except InputError:
        prompts = []
    found: dict[int, list[Path]] = {}
    for path in sorted((folder / "preview").glob("*-*.png")):
        step = path.stem.split("-")[0]
        if step.isdecimal():
            found.setdefault(int(step), []).append(path)
    return prompts, found
