"""The main job: from a concept to an erased model with samples before and after. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.pipeline.job import DEFAULTS, Event, Job, Show

__all__ = ["DEFAULTS", "Event", "Job", "erase_concept"]


def erase_concept(job: Job, values: Mapping[str, Any] | None = None, show: Show | None = None, pool: Path | None = None) -> Path:
    """Do the whole job, or what is left of it; returns the run folder.

    `values` are options of the method. `pool` is a folder of image sets that several runs share: what the original model generates
    is generated there and linked into the run. Processes started together by `accelerate launch` share the generation of images and
    every batch of repair.

    InputError for the user's mistakes, Diverged if a loss stops being finite; either leaves a run that can be resumed.
    """
    from erase.pipeline.stages import run_stages

    return run_stages(job, values, show, pool)
