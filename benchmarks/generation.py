"""Pictures per second: `make_images` with our sampler beside a plain diffusers loop over the same prompts and noise.

    python benchmarks/generation.py
    python benchmarks/generation.py --size sd1 --device cuda --dtype bfloat16 --count 32 --batch 8 --sampling-steps 50

Both write PNG files; ours also hashes each, lists it in the manifest and flushes that to the disk, so that a run can stop at any
time. The pictures are compared: in float32 they must be the same; in half precision ours rounds once less on the way to a picture.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from host import Record, alternate, facts, parser, publish, rows, summary
from models import SIZES, open_size
from PIL import Image

from erase.demo import GUIDANCE, STEPS
from erase.demo.shapes import world
from erase.diffusion import DTYPES, StableDiffusion
from erase.images import make_images
from erase.task import generator

SEED = 0


def plain_loop(folder: Path, pipeline: Any, prompts: list[str], options: argparse.Namespace) -> None:
    """What a script would do."""
    folder.mkdir()
    for start in range(0, len(prompts), options.batch):
        chunk = prompts[start : start + options.batch]
        noise = [generator(SEED, "picture", start + i) for i in range(len(chunk))]
        made = pipeline(chunk, num_inference_steps=options.sampling_steps, guidance_scale=options.guidance, generator=noise)
        for i, image in enumerate(made.images):
            image.save(folder / f"{start + i:05d}.png")


def plain_pipeline(model: StableDiffusion, options: argparse.Namespace) -> Any:
    """A pipeline of its own, as from_pretrained gives it; with random weights there is no folder, and both share one."""
    if options.size != "demo":
        return model.pipeline
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline.from_pretrained(model.folder, safety_checker=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made.to(options.device, DTYPES[options.dtype])


def levels_apart(one: Path, other: Path) -> int:
    """How far two pictures are from each other at most, in levels of 255."""
    a, b = (np.asarray(Image.open(path), dtype=np.int16) for path in (one, other))
    return int(abs(a - b).max())


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    model = open_size(options.size, options.device, options.dtype)
    pipeline = plain_pipeline(model, options)
    named = dict.fromkeys(world.DOMAINS, world.NAMED)
    prompts = [world.phrase(scene, named, order=i % world.ORDERS) for i, scene in enumerate(world.scenes(options.count, seed=3))]
    sample = model.sampler(options.sampling_steps, options.guidance)
    with tempfile.TemporaryDirectory() as scratch:
        ours, plain = Path(scratch) / "ours", Path(scratch) / "plain"

        def anew(folder: Path, work: Callable[[], object]) -> Callable[[], None]:
            def done() -> None:
                shutil.rmtree(folder, ignore_errors=True)
                work()

            return done

        ways = {
            "plain loop": anew(plain, lambda: plain_loop(plain, pipeline, prompts, options)),
            "make_images": anew(ours, lambda: make_images(ours, prompts, SEED, sample, options.batch)),
        }
        times = alternate(ways, options.repeats, options.warmup, options.device)
        apart = [levels_apart(ours / path.name, path) for path in sorted(plain.glob("*.png"))]
    assert len(apart) == options.count
    record: Record = {
        "size": options.size,
        "dtype": options.dtype,
        "side": model.size,
        "count": options.count,
        "batch": options.batch,
        "sampling_steps": options.sampling_steps,
        "guidance": options.guidance,
        "scheduler": model.scheduler_name,
        "same_pictures": apart.count(0),
        "most_levels_apart": max(apart),
        **summary(times, "plain loop"),
    }
    record["pictures_per_second"] = {way: options.count / seconds for way, seconds in record["median_wall"].items()}
    return record | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    head = (
        f"{record['count']} pictures of {record['side']} px, {record['sampling_steps']} steps, batch {record['batch']}, {record['dtype']}"
    )
    lines = [f"{head}, {record['device']}, {record['threads']} threads", *rows(record)]
    lines += [f"{way}: {rate:.2f} pictures a second" for way, rate in record["pictures_per_second"].items()]
    return "\n".join(
        [*lines, f"{record['same_pictures']} of {record['count']} pictures are the same, others {record['most_levels_apart']} levels apart"]
    )


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=SIZES, default="demo")
    given.add_argument("--dtype", choices=DTYPES, default="float32")
    given.add_argument("--count", type=int, default=48, help="pictures")
    given.add_argument("--batch", type=int, default=48)
    given.add_argument("--sampling-steps", type=int, default=STEPS)
    given.add_argument("--guidance", type=float, default=GUIDANCE)
    given.add_argument("--repeats", type=int, default=5)
    given.add_argument("--warmup", type=int, default=1)
    options = given.parse_args(argv)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
