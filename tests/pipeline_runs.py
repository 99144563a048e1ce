"""Runs of the whole job on a tiny random pipeline, stopped where a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from erase.pipeline import Event, Job, erasing

COUNTS = {"forget_count": 4, "retain_count": 6, "evaluate_count": 4, "sampling_steps": 2, "sampling_batch": 4}


METHOD = {"steps": 4, "batch": 2, "sensitivity_batches": 2, "learning_rate": 1e-3}


RESULTS = {".png", ".safetensors"}  # what must come out alike to the bit; the rest holds times


class Stop(Exception):
    """Somebody pulls the plug."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint every second step (the run that all others are compared with has none)."""
    monkeypatch.setattr(erasing, "CHECKPOINT_EVERY", 2)


def job(model: Path, output: Path, concept: str | tuple[str, ...] = "star", **options: Any) -> Job:
    brought = [f"{role}_count" for role in ("forget", "retain") if f"{role}_images" in options]
    concepts = (concept,) if isinstance(concept, str) else concept
    return Job(concepts, str(model), output=str(output), **{**{k: v for k, v in COUNTS.items() if k not in brought}, **options})


def results(run: Path) -> dict[str, bytes]:
    """Name -> bytes of everything that the seed decides."""
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in sorted(run.rglob("*")) if p.suffix in RESULTS}


def alike(run: Path, other: Path) -> bool:
    one, two = results(run), results(other)
    return one.keys() == two.keys() and [name for name in one if one[name] != two[name]] == []


def erased(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "unet" / "diffusion_pytorch_model.safetensors")


def stop_at(stage: str, done: int, fail: BaseException | None = None) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        if (event.stage, event.done) == (stage, done) and not event.note:
            raise fail or Stop(stage)

    return show
