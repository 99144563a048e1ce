"""A repair step of ours beside the published way of doing it, at the same mathematics.

    python benchmarks/published_step.py                                    the embedded model, on the CPU
    python benchmarks/published_step.py --size sd1 --device cuda           Stable Diffusion 1.x's size, random weights

`published.py` says what the published way does; "lean" is without its gradient checkpointing and garbage collection. Ours is `repair` on
a task made of cached latents, once with the same weights in scope, once with our default scope.

What ours does before its first step (encoding the run's pictures, the anchor's predictions) is measured too and shared out over the
steps of a run: "everything included" is with this share.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from host import Record, alternate, facts, parser, publish, rows, summary, synchronise, timed
from models import SIZES, open_size
from published import FORGET_WEIGHT, LEARNING_RATE, SEED, Pictures, make_published
from torch import nn

from erase.diffusion import DTYPES, DiffusionBatch, StableDiffusion, TaskConfig, diffusion_task
from erase.diffusion.latents import read_latents
from erase.project import project
from erase.repair import repair
from erase.scope import open_scope
from erase.task import Task
from erase.training.optimizers import OptimizerConfig

SCOPES = {"ours": "full", "ours-default-scope": "cross-attention", "ours-bfloat16": "full"}
WAYS = ("published", "published-lean", *SCOPES)


def make_task(model: StableDiffusion, unet: nn.Module, latents: Path, way: str, options: argparse.Namespace) -> Task[DiffusionBatch]:
    """The same losses over the same batches, the anchor's predictions made beforehand for every step."""
    weights = open_scope(unet, SCOPES[way])
    dtype = DTYPES["bfloat16" if "bfloat16" in way else "float32"]
    steps = options.warmup + options.steps
    config = TaskConfig(options.batch, SEED, forget_rounds=steps, anchor_predictions=True, empty_captions=0.0, dtype=dtype)
    return diffusion_task(unet, model.objective(), read_latents(latents), weights, config)


def project_seconds(task: Task[DiffusionBatch], device: str) -> float:
    """Median seconds of project() on gradients of the task's shapes, without the passes that make them."""
    random = [[torch.randn_like(weight) for weight in task.weights.values()] for _ in range(2)]
    return statistics.median(timed(lambda: project(*random, FORGET_WEIGHT), device)[0] for _ in range(7))


def parts_of(model: StableDiffusion, unet: nn.Module, given: Pictures, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each part of a published step, over a few steps of its own: waiting at every mark takes time as well."""
    spent: dict[str, list[float]] = {}
    last = [0.0]

    def mark(part: str) -> None:
        synchronise(options.device)
        now = time.perf_counter()
        spent.setdefault(part, []).append(now - last[0])
        last[0] = now

    step = make_published(model, unet, given, options.batch, False, mark)
    for _ in range(min(options.steps, 5) + 1):
        synchronise(options.device)
        last[0] = time.perf_counter()
        step()
    return {part: statistics.median(seconds[1:]) for part, seconds in spent.items()}


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    model = open_size(options.size, options.device, side=options.side)
    ways: dict[str, Callable[[], object]] = {}
    once: dict[str, dict[str, float]] = {}
    projecting: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        given = Pictures(Path(scratch), options.forget, options.retain, model.size)
        latents = Path(scratch) / "latents.safetensors"
        caching = timed(lambda: given.cache(latents, model), options.device)
        for way in options.ways:
            unet = model.network()
            if way.startswith("published"):
                ways[way] = make_published(model, unet, given, options.batch, "lean" in way)
                continue
            make = partial(make_task, model, unet, latents, way, options)
            tasks: list[Task[DiffusionBatch]] = []
            predicting = timed(lambda make=make, tasks=tasks: tasks.append(make()), options.device)
            [task] = tasks
            once[way] = share_of_a_step(caching, options.run_steps, predicting, options.warmup + options.steps)
            projecting[way] = project_seconds(task, options.device)
            stepping = repair(
                task,
                options.warmup + options.steps,
                optimizer=OptimizerConfig(learning_rate=LEARNING_RATE),
                forget_weight=FORGET_WEIGHT,
            )
            ways[way] = lambda stepping=stepping: next(stepping)
        times = alternate(ways, options.steps, options.warmup, options.device)
        ways.clear()
        gc.collect()
        parts = parts_of(model, model.network(), given, options)
    record = {
        "size": options.size,
        "side": model.size,
        "weights": sum(weight.numel() for weight in model.pipeline.unet.parameters()),
        "batch": options.batch,
        "pictures": {"forget": options.forget, "retain": options.retain},
        "run_steps": options.run_steps,
        "steps": options.steps,
        **summary(times, options.ways[0]),
        "once": once,
        "project_seconds": projecting,
        "published_parts_seconds": parts,
    }
    return compared(record) | begun


def share_of_a_step(caching: tuple[float, float], run_steps: int, predicting: tuple[float, float], steps: int) -> dict[str, float]:
    """Seconds a step of what is done beforehand: the cache shared out over a run, the predictions over the steps they were made for."""
    wall, busy = (c / run_steps + p / steps for c, p in zip(caching, predicting, strict=True))
    return {"median_wall": wall, "least_processor": busy}


def compared(record: Record) -> Record:
    """The record with what follows from it: how many times as fast ours is, by wall medians and by least processor time."""
    once = record["once"]
    faster: Record = {}
    for clock in ("median_wall", "least_processor"):
        step = record[clock]
        whole = {way: seconds + once.get(way, {clock: 0.0})[clock] for way, seconds in step.items()}
        published = [way for way in step if way.startswith("published")]
        faster[clock] = {
            "seconds_everything_included": whole,
            "times_as_fast": {way: {other: step[other] / step[way] for other in published} for way in once},
            "everything_included": {way: {other: whole[other] / whole[way] for other in published} for way in once},
        }
    shares = {way: seconds / record["median_wall"][way] for way, seconds in record["project_seconds"].items()}
    return record | {"project_share": shares, "compared": faster}


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    head = f"{record['weights']:,} weights, {record['side']} px, batch {record['batch']} + {record['batch']}, {record['steps']} steps"
    lines = [f"{head}, {record['device']}, {record['threads']} threads", *rows(record)]
    for way in record["once"]:
        for clock, faster in record["compared"].items():
            for published, times in faster["times_as_fast"][way].items():
                whole = faster["everything_included"][way][published]
                lines.append(f"{way}, {clock}: {times:.2f} times as fast as {published}; everything included {whole:.2f}")
        lines.append(f"{way}: project() takes {record['project_share'][way]:.1%} of the step")
    lines.append("published, by parts: " + ", ".join(f"{part} {s:.3f} s" for part, s in record["published_parts_seconds"].items()))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=SIZES, default="demo")
    given.add_argument("--side", type=int, help="side of the latents (sd1 only)")
    given.add_argument("--ways", nargs="+", choices=WAYS, default=[way for way in WAYS if "bfloat16" not in way], help="contestants")
    given.add_argument("--batch", type=int, default=16, help="pictures in each of the two batches")
    given.add_argument("--forget", type=int, default=96, help="pictures to forget, in the whole run")
    given.add_argument("--retain", type=int, default=288, help="pictures to keep, in the whole run")
    given.add_argument("--run-steps", type=int, default=100, help="steps of a run, over which is shared out what ours does once")
    given.add_argument("--steps", type=int, default=15, help="steps that are timed")
    given.add_argument("--warmup", type=int, default=2)
    options = given.parse_args(argv)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
