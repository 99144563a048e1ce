"""A repair step at Stable Diffusion 1.x's size, or FLUX.1's, on a card: time, share of its matrix rate, peak memory, floor.

    python benchmarks/gpu_step.py --device cuda
    python benchmarks/gpu_step.py --device cuda --size flux      factors of rank 16, base in bfloat16, batch 4 at 512 pixels
    python benchmarks/gpu_step.py --size demo --batches 4 --variants float32 bfloat16     the same code on the CPU

512 x 512 pictures, random weights, `repair` as it ships. A variant is a dtype, with or without gradient checkpointing, so many pictures at
once (micro4: four), and the UNet compiled or not; each begins with a fresh copy of the same weights. `floor.py` counts what the step
needs; the rates, a matrix product in each dtype and a copy, are measured in the same run. The share is that of the whole step,
projection, update and all: operations that checkpointing repeats count once.
"""

from __future__ import annotations

import argparse
import copy
import gc
import re
import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from floor import copy_rate, count, matrix_rate, seconds
from host import Record, facts, forget_peak, parser, peak, publish, timed
from models import SIZES, build_unet, random_task, side_of

from erase.checkpoints.lora.low_rank import ADAPTER
from erase.diffusion import DTYPES
from erase.repair import repair
from erase.training.optimizers import OptimizerConfig

LEARNING_RATE = 1e-5
VARIANTS = (
    "float32", "bfloat16", "float32+checkpointing", "bfloat16+checkpointing", "bfloat16+micro4", "float32+compiled", "bfloat16+compiled",
    "bfloat16+checkpointing+compiled", "bfloat16+micro4+compiled",
)  # fmt: skip
OTHERS: Record = {"batches": [16, 4], "variants": list(VARIANTS), "scope": "full", "lora_rank": None, "base": "float32"}
FLUX: Record = {
    "batches": [4], "variants": ["bfloat16+checkpointing"], "scope": "text-stream", "lora_rank": 16, "base": "bfloat16",
}  # fmt: skip
"""What is measured by default: all weights at Stable Diffusion's size, factors at FLUX.1's."""

WAYS = re.compile(rf"({'|'.join(DTYPES)})(\+(checkpointing|compiled|micro[1-9]\d*))*")


def variant(text: str) -> str:
    """A dtype and ways of doing the step, joined by +."""
    if not WAYS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no variant; expected one like bfloat16+checkpointing+micro4+compiled")
    return text


def step_times(unet: Any, batch: int, variant: str, options: argparse.Namespace) -> Record:
    """Seconds and peak of the steps of one variant; of one that does not fit, what the card says."""
    dtype, *ways = variant.split("+")
    network = copy.deepcopy(unet) if options.lora_rank is None else unet  # factors are taken away again, and the base does not change
    if "checkpointing" in ways:
        network.enable_gradient_checkpointing()
    if "compiled" in ways:
        network.compile()
    task = random_task(network, options.scope, batch, options.tokens, DTYPES[dtype], options.side, options.lora_rank)
    task.micro_batch = next((int(way.removeprefix("micro")) for way in ways if way.startswith("micro")), None)
    gc.collect()
    before = forget_peak(options.device)
    total = options.warmup + options.steps
    stepping = repair(task, total, optimizer=OptimizerConfig(options.optimizer, LEARNING_RATE))
    try:
        times = [timed(lambda: next(stepping), options.device) for _ in range(total)]
    except torch.OutOfMemoryError as error:
        return {"error": str(error).split(". ")[0]}
    finally:
        if options.lora_rank is not None:
            network.delete_adapters(ADAPTER)
            network.disable_gradient_checkpointing()
    wall = [seconds for seconds, _ in times[options.warmup :]]
    return {
        "wall_seconds": [round(seconds, 4) for seconds in wall],
        "first_step_seconds": times[0][0],
        "median_wall": statistics.median(wall),
        "least_wall": min(wall),
        "least_processor": min(busy for _, busy in times[options.warmup :]),
        "bytes_before": before,
        "peak_bytes": peak(options.device),
    }


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    used = sorted({variant.split("+")[0] for variant in options.variants})
    rates = {dtype: matrix_rate(options.device, DTYPES[dtype], options.matrix) for dtype in used}
    moved = copy_rate(options.device, options.copy)
    build = partial(build_unet, options.size, side=options.side)
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[options.base])
    with torch.device(options.device):
        unet = build()
    torch.set_default_dtype(torch.float32)
    points = []
    for batch in options.batches:
        needs = {dtype: count(build, options.scope, batch, options.tokens, DTYPES[dtype], options.lora_rank) for dtype in used}
        for variant in options.variants:
            dtype = variant.split("+")[0]
            floor = seconds(needs[dtype], rates[dtype], moved)
            point = {"batch": batch, "variant": variant, **needs[dtype], **floor, **step_times(unet, batch, variant, options)}
            if "median_wall" in point:
                point["share_of_matrix_rate"] = point["arithmetic_seconds"] / point["median_wall"]
            points.append(point)
            print(line(point), flush=True)
            gc.collect()
            if options.device.startswith("cuda"):
                torch.cuda.empty_cache()
            if "compiled" in variant:
                torch.compiler.reset()
    return {
        "size": options.size,
        "side": options.side or side_of(unet),
        "weights": sum(weight.numel() for weight in unet.parameters()),
        "scope": options.scope,
        "lora_rank": options.lora_rank,
        "base": options.base,
        "optimizer": options.optimizer,
        "matrix_operations_a_second": rates,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "copied_bytes_a_second": moved,
        "points": points,
    } | begun


def line(point: Mapping[str, Any]) -> str:
    """A point as a line of the table."""
    start = f"{point['batch']:>4}+{point['batch']:<4}{point['variant']:34}"
    if "error" in point:
        return start + point["error"]
    times = f"{1000 * point['median_wall']:10.1f}{1000 * point['least_wall']:10.1f}{1000 * point['floor_seconds']:10.1f}"
    held = "-" if point["peak_bytes"] is None else f"{point['peak_bytes'] / 1e9:.2f}"
    floor = f"{point['operations'] / 1e12:12.3f}{point['bytes'] / 1e9:10.2f}"
    return f"{start}{times}{point['share_of_matrix_rate']:9.1%}{held:>9}{floor}"


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    rates = ", ".join(f"{rate / 1e12:.3g} in {dtype}" for dtype, rate in record["matrix_operations_a_second"].items())
    return "\n".join(
        [
            f"{record['weights']:,} weights ({record['scope']}), latents of {record['side']}, {record['device']}",
            f"measured here: 10^12 matrix operations a second: {rates}; copy {record['copied_bytes_a_second'] / 1e9:.3g} GB/s",
            f"{'batch':9}{'variant':34}{'median ms':>10}{'least':>10}{'floor':>10}{'share':>9}{'peak GB':>9}{'10^12 ops':>12}{'GB':>10}",
            *map(line, record["points"]),
        ]
    )


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=SIZES, default="sd1")
    given.add_argument("--side", type=int, help="side of the latents, in place of the model's own")
    given.add_argument("--batches", type=int, nargs="+", help="pictures in each of the two batches, by default 16 and 4, of flux 4")
    given.add_argument("--variants", nargs="+", type=variant, help="as bfloat16+checkpointing+micro4+compiled")
    given.add_argument("--scope", help="by default full, of flux text-stream")
    given.add_argument("--lora-rank", type=int, help="train factors of this rank; of flux 16")
    given.add_argument("--base", choices=DTYPES, help="dtype of the weights, by default float32, of flux bfloat16")
    given.add_argument("--optimizer", default="adam")
    given.add_argument("--tokens", type=int, default=77, help="tokens of a prompt")
    given.add_argument("--steps", type=int, default=8, help="steps that are timed")
    given.add_argument("--warmup", type=int, default=3)
    given.add_argument("--matrix", type=int, help="side of the matrix product that gives the rate")
    given.add_argument("--copy", type=int, help="bytes of the copy that gives the rate")
    options = given.parse_args(argv)
    for name, value in (FLUX if options.size == "flux" else OTHERS).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
