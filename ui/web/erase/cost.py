"""What a job will cost, said before it is started: time, memory, disk, download. Loads no model and no torch.

The time is the passes of the job's plan times the pace of this machine (`ui.web.erase.pace`). What is only roughly known is said to be.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import doubled_by_guidance, size_of
from erase.concepts.published import published_prompts
from erase.concepts.several import all_apart
from erase.errors import InputError
from erase.images import picture_paths
from erase.methods.requirements import IMAGE_SETS
from erase.pipeline.job import DEFAULTS, Job
from erase.pipeline.plan import Plan, plan_of
from ui.web.context import Page
from ui.web.erase.handlers import Order, short
from ui.web.erase.local_models import device_of, download_bytes, folder_of, small, weight_bytes
from ui.web.erase.pace import Pace, pace_of
from ui.web.units import size

LONG = 6 * 3600.0  # seconds from which a job is a matter to think about
DAY = 86_400.0
STARTUP = 12.0  # seconds of every job: libraries are loaded, files written and measured
LARGE = 2**30  # bytes of a download to be warned of


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of a job; None where nothing is known. `device` in words; `exact`: the pace was measured on this machine."""

    seconds: float | None
    exact: bool
    memory: int | None
    disk: int
    free: int
    download: int
    model: str
    device: str

    @property
    def warnings(self) -> list[str]:
        """What a visitor should know before pressing Start, in sentences."""
        said = []
        if self.download >= LARGE:
            said.append(f"At least {size(self.download)} of {self.model} are downloaded first.")
        if self.seconds is not None and self.seconds >= LONG:
            gpu = " This machine has no GPU that can be used; with one it would take hours." if self.device == "CPU" else ""
            said.append(f"It takes {duration(self.seconds)}.{gpu}")
        if self.disk + self.download > self.free:
            said.append(f"Only {size(self.free)} are free on the disk.")
        return said


def cost_of(page: Page, order: Order) -> Cost:
    """The cost of a checked form on this machine."""
    job, model = settled(order), order.model
    device = device_of(page.device)
    plan = plan_for(order, job)
    pace = pace_of(page, model, job, device)
    passes = sum(plan.stage(name).passes for name in ("images", "before", "after"))
    seconds = None if pace is None else STARTUP + passes * pace.drawing + plan.stage("erase").passes * pace.training
    return Cost(
        seconds=seconds,
        exact=pace is not None and pace.exact,
        memory=None if pace is None else pace.memory,
        disk=disk_bytes(order, plan),
        free=shutil.disk_usage(page.runs).free,
        download=download_bytes(model),
        model=short(model) if folder_of(model) else model,
        device={"cpu": "CPU", "cuda": "GPU", "mps": "GPU of this Mac"}.get(device, device),
    )


def settled(order: Order) -> Job:
    """The job with the defaults of its model filled in."""
    job, is_small = order.job, small(order.model)
    usual: dict[str, Any] = dict(DEFAULTS[is_small])
    trained = published_prompts(order.concepts[0], job.method, job.preset) if len(order.concepts) == 1 else None
    if trained is not None and trained.images and not is_small:
        usual |= {"forget_count": trained.images, "retain_count": trained.images}
    brought = [f"{role}_count" for role in IMAGE_SETS if getattr(job, f"{role}_images")]
    return replace(job, **{name: value for name, value in usual.items() if getattr(job, name) is None and name not in brought})


def plan_for(order: Order, job: Job) -> Plan:
    """The pieces of work of the job, as the engine will plan them."""
    provided: dict[str, int] = {role: _count(folder) for role in IMAGE_SETS if (folder := getattr(job, f"{role}_images"))}
    folder = folder_of(order.model)
    doubled = folder is None or doubled_by_guidance(folder)
    return plan_of(all_apart(order.concepts), order.concepts, order.method.requirements, job, provided, doubled)


def disk_bytes(order: Order, plan: Plan) -> int:
    """Bytes of the run folder: images at half of their raw size, and the model with its changed weights and checkpoints."""
    folder = folder_of(order.model)
    side = order.job.size or (size_of(folder) if folder else 512)
    images = sum(plan.stage("images").pieces.values()) + 2 * plan.stage("before").total
    model = weight_bytes(order.model) or download_bytes(order.model)
    return images * side * side * 3 // 2 + 2 * model


def line(cost: Cost) -> str:
    """The cost as one line, and the warnings under it."""
    time = f"about {duration(cost.seconds)}" if cost.seconds is not None else "a time that is not known yet"
    parts = [f"<b>{escape(time)}</b> on the {escape(cost.device)}"]
    if cost.memory:
        parts.append(f"{size(cost.memory)} of memory")
    parts.append(f"{size(cost.disk)} of disk")
    fetched = "" if cost.download else " Nothing is downloaded."
    rough = "" if cost.exact else " <small>A rough guess: this model has not been timed on this machine.</small>"
    level = "warn" if cost.warnings else "fine"
    warned = "".join(f"<li>{escape(text)}</li>" for text in cost.warnings)
    warnings = f'<ul class=warnings role="alert">{warned}</ul>' if warned else ""
    return f'<div class="cost {level}"><p>This takes {", ".join(parts)}.{fetched}{rough}</p>{warnings}</div>'


def duration(seconds: float) -> str:
    """A time to plan with: minutes below an hour and a half, hours below two days, then days."""
    if seconds < 90:
        return "1 minute" if seconds >= 45 else "half a minute"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 2 * DAY:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / DAY:.0f} days"


def _count(folder: str) -> int:
    try:
        return len(picture_paths(Path(folder)))
    except InputError:  # the job says what is wrong with it
        return 0


def estimated(record: Mapping[str, Any], plan: Plan) -> Pace | None:
    """The pace that the command `estimate` has measured for a job with this plan."""
    passes = sum(plan.stage(name).passes for name in ("images", "before", "erase", "after"))
    seconds, memory = record.get("seconds"), record.get("memory_bytes")
    if not isinstance(seconds, int | float) or seconds <= 0 or not passes:
        return None
    each = float(seconds) / passes
    return Pace(each, each, memory if isinstance(memory, int) and memory else None, exact=True)
