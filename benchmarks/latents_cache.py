"""A repair step from cached latents and embeddings beside one that encodes its pictures and captions anew.

    python benchmarks/latents_cache.py
    python benchmarks/latents_cache.py --size sd1 --device cuda --dtype bfloat16

Everything else is the same: `repair`, the anchor's predictions made beforehand, the pictures, and on the CPU the noise. So the
difference is what the cache saves at every step; what it costs once is printed beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fresh import fresh_batches
from host import Record, alternate, facts, parser, publish, rows, summary, timed
from models import SIZES, open_size
from published import FORGET_WEIGHT, LEARNING_RATE, SEED, Pictures

from erase.diffusion import DTYPES, DiffusionBatch, StableDiffusion, TaskConfig, diffusion_task
from erase.diffusion.latents import Latents, read_latents
from erase.diffusion.task import Original
from erase.repair import repair
from erase.scope import open_scope
from erase.task import Task
from erase.training.optimizers import OptimizerConfig


def config_of(options: argparse.Namespace) -> TaskConfig:
    """The task as the main job has it, but with the prompts of all images."""
    steps = options.warmup + options.steps
    return TaskConfig(options.batch, SEED, forget_rounds=steps, anchor_predictions=True, empty_captions=0.0, dtype=DTYPES[options.dtype])


def make_cached(model: StableDiffusion, latents: Latents, options: argparse.Namespace) -> Task[DiffusionBatch]:
    """The task on cached latents."""
    unet = model.network()
    return diffusion_task(unet, model.objective(), latents, open_scope(unet, options.scope), config_of(options))


def make_fresh(model: StableDiffusion, cached: Task[DiffusionBatch], given: Pictures, options: argparse.Namespace) -> Task[DiffusionBatch]:
    """The same task on a network of its own, whose batches are encoded when they are used."""
    unet, scheduler = model.network(), model.noise_scheduler()
    anchors = [texts[0] for texts in given.anchors]
    forget = fresh_batches(model, scheduler, given.forget, (SEED, "forget"), options.batch, anchors=anchors)
    return replace(
        cached,
        network=unet,
        forget=Original(unet, config_of(options), lambda: None).with_predictions(forget),
        retain=fresh_batches(model, scheduler, given.retain, (SEED, "retain"), options.batch),
        weights=open_scope(unet, options.scope),
    )


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    model = open_size(options.size, options.device)
    total = options.warmup + options.steps
    with tempfile.TemporaryDirectory() as scratch:
        given = Pictures(Path(scratch), options.forget, options.retain, model.size)
        path = Path(scratch) / "latents.safetensors"
        caching = timed(lambda: given.cache(path, model), options.device)[0]
        cached = make_cached(model, read_latents(path), options)
        tasks = {"encoded anew": make_fresh(model, cached, given, options), "from the cache": cached}
        adam = OptimizerConfig(learning_rate=LEARNING_RATE)
        steps = {way: repair(task, total, optimizer=adam, forget_weight=FORGET_WEIGHT) for way, task in tasks.items()}
        ways: dict[str, Callable[[], object]] = {way: (lambda stepping=stepping: next(stepping)) for way, stepping in steps.items()}
        times = alternate(ways, options.steps, options.warmup, options.device)
        size = path.stat().st_size
    return {
        "size": options.size,
        "dtype": options.dtype,
        "scope": options.scope,
        "batch": options.batch,
        "steps": options.steps,
        "pictures": {"forget": options.forget, "retain": options.retain},
        **summary(times, "encoded anew"),
        "caching_seconds": caching,
        "cache_bytes": size,
    } | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    lines = [f"{record['scope']}, batch {record['batch']} + {record['batch']}, {record['device']}, {record['threads']} threads"]
    saved = record["median_wall"]["encoded anew"] - record["median_wall"]["from the cache"]
    count = sum(record["pictures"].values())
    once = f"the cache of {count} pictures took {record['caching_seconds']:.2f} s once and {record['cache_bytes'] / 1e6:.1f} MB"
    return "\n".join([*lines, *rows(record), f"saved {1000 * saved:.0f} ms a step; {once}"])


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=SIZES, default="demo")
    given.add_argument("--dtype", choices=DTYPES, default="float32")
    given.add_argument("--scope", default="cross-attention")
    given.add_argument("--batch", type=int, default=16, help="pictures in each of the two batches")
    given.add_argument("--forget", type=int, default=96, help="pictures to forget, in the whole run")
    given.add_argument("--retain", type=int, default=288, help="pictures to keep, in the whole run")
    given.add_argument("--steps", type=int, default=20, help="steps that are timed")
    given.add_argument("--warmup", type=int, default=2)
    options = given.parse_args(argv)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
