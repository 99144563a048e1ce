"""How fast this machine draws and trains with a model: from earlier runs, else from what `estimate` has measured, else a rough guess.

A pace belongs to an architecture, not to a model: what was erased from a model is as fast as the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from erase.checkpoints.folder import edited_part
from erase.errors import InputError
from erase.files import read_json, write_json
from erase.pipeline.job import Job
from erase.pipeline.plan import read_plan
from erase.run import Run
from ui.web.context import Page
from ui.web.erase.local_models import folder_of, small, weight_bytes
from ui.web.example.unpack import is_example
from ui.web.runs import all_runs

RECENT = 5  # runs whose median counts
DRAWING = ("images", "before", "after")
# Seconds of a pass of the UNet on one image: of the smallest embedded model on 2 cores per byte of its weights, and of Stable Diffusion 1
# at 512 pixels on one core, on a GPU and on a Mac. Of the right size, no more: whoever starts a job wants to know minutes from days.
SMALL_DRAWING, SMALL_TRAINING = 1.33e-3 / 13.2e6, 3.5e-3 / 13.2e6
LARGE_CORE, LARGE_GPU, LARGE_MAC = 16.0, 0.05, 0.6


@dataclass(frozen=True)
class Pace:
    """Seconds of a pass on one image while drawing and while training, and the peak of memory in bytes."""

    drawing: float
    training: float
    memory: int | None = None
    exact: bool = False


def pace_of(page: Page, model: str, job: Job, device: str) -> Pace:
    """The pace of a job's model on a device."""
    key = key_of(model, job, device)
    return _of_runs(page, model, job, device) or _measured(page).get(key) or _rough(model, device)


def key_of(model: str, job: Job, device: str) -> str:
    """The name under which a measured pace is kept."""
    return f"{architecture(model)} {device} {job.dtype} {job.size or ''}".strip()


def store(page: Page, key: str, pace: Pace) -> None:
    """Keep a measured pace for the next visit."""
    write_json(_file(page), {name: asdict(each) for name, each in {**_measured(page), key: pace}.items()})


def architecture(model: str) -> str:
    """What models of one architecture share: a hash of the UNet's configuration; of a model that is not here its name."""
    folder = folder_of(model)
    return (_configuration(folder) if folder else None) or model


def _configuration(folder: Path) -> str | None:
    try:
        config = read_json(edited_part(folder) / "config.json")
    except (OSError, ValueError):
        return None
    kept = {name: value for name, value in config.items() if not name.startswith("_")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _of_runs(page: Page, model: str, job: Job, device: str) -> Pace | None:
    wanted = architecture(model)
    mine = (folder for folder in reversed(all_runs(page)) if not is_example(folder))  # the example was made on another machine
    found = list(islice((pace for folder in mine if (pace := _of_run(folder, model, wanted, job, device))), RECENT))
    if not found:
        return None
    memory = max((pace.memory for pace in found if pace.memory), default=None)
    return Pace(statistics.median(p.drawing for p in found), statistics.median(p.training for p in found), memory, exact=True)


def _of_run(folder: Path, model: str, wanted: str, job: Job, device: str) -> Pace | None:
    """The pace of a finished run of the same architecture on the same kind of device; None for any other run."""
    try:
        run, plan = Run.read(folder), read_plan(folder)
        stages, options = run.stages(), run.options
        where = str(read_json(folder / "options.json").get("environment", {}).get("device", ""))
    except (InputError, OSError, ValueError, AttributeError):
        return None
    if plan is None or not {*DRAWING, "erase"} <= stages.keys() or not where.startswith(device):
        return None
    if options.get("dtype", "float32") != job.dtype or (job.size and options.get("size") != job.size):
        return None
    if wanted not in (options.get("model"), _configuration(folder / "model")):
        return None
    drawn = list(_rates([(stages[name], plan.stage(name).passes) for name in DRAWING]))
    trained = list(_rates([(stages["erase"], plan.stage("erase").passes)]))
    memory = max((int(stage.get("peak_bytes") or 0) for stage in stages.values()), default=0)
    return Pace(sum(drawn) / len(drawn), trained[0], memory or None, exact=True) if drawn and trained else None


def _rates(pairs: list[tuple[dict[str, float], float]]) -> Iterator[float]:
    """Seconds a pass of all the pairs of (facts of a stage, its passes) together; nothing where they have no passes."""
    seconds, passes = sum(float(facts.get("seconds") or 0) for facts, _ in pairs), sum(each for _, each in pairs)
    if seconds > 0 and passes > 0:
        yield seconds / passes


def _measured(page: Page) -> dict[str, Pace]:
    try:
        return {name: Pace(**record) for name, record in read_json(_file(page)).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _file(page: Page) -> Path:
    return page.jobs.home / "paces.json"


def _rough(model: str, device: str) -> Pace:
    if small(model):
        weights = weight_bytes(model)
        return Pace(SMALL_DRAWING * weights, SMALL_TRAINING * weights)
    each = {"cuda": LARGE_GPU, "mps": LARGE_MAC}.get(device, LARGE_CORE / (os.cpu_count() or 1))
    return Pace(each, each)
