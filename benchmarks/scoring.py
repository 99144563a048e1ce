"""Sensitivity and trimming together: what stands between the first step and a loaded model.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --size sd1 --device cuda --dtype bfloat16

Ten forget batches forward and backward, then the exact top share of all scores and fresh values for it. The floor is the arithmetic
of these passes at the measured rate of a matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from floor import count, matrix_rate
from host import Record, alternate, facts, forget_peak, parser, peak, publish, rows, summary
from models import SIZES, build_unet, random_task

from erase.diffusion import DTYPES
from erase.scope import trimmable
from erase.sensitivity import connection_sensitivity
from erase.task import generator
from erase.trim import trim


def measure(options: Any) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    build = partial(build_unet, options.size)
    torch.manual_seed(0)
    with torch.device(options.device):
        unet = build()
    task = random_task(unet, options.scope, options.batch, options.tokens, DTYPES[options.dtype])
    weights = trimmable(task.weights)
    scores: dict[str, Any] = {}

    def score() -> None:
        batches = (task.forget(i) for i in range(options.batches))
        scores.update(connection_sensitivity(unet, batches, task.loss, weights))

    before = forget_peak(options.device)
    score()
    passing = peak(options.device)
    forget_peak(options.device)
    ways = {"sensitivity": score, "trimming": lambda: trim(weights, scores, options.fraction, "uniform", generator(0, "trim"))}
    times = alternate(ways, options.repeats, 0, options.device)
    rate = matrix_rate(options.device, DTYPES[options.dtype])
    need = count(build, options.scope, options.batch, options.tokens, DTYPES[options.dtype])["operations"] // 2 * options.batches
    record = {
        "size": options.size,
        "dtype": options.dtype,
        "scope": options.scope,
        "weights": sum(weight.numel() for weight in weights.values()),
        "batch": options.batch,
        "batches": options.batches,
        "fraction": options.fraction,
        **summary(times, "sensitivity"),
        "operations": need,
        "matrix_operations_a_second": rate,
        "floor_seconds": need / rate,
        "bytes_before": before,
        "peak_bytes": passing,
    }
    return record | {"together_seconds": sum(record["median_wall"].values())} | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    head = f"{record['weights']:,} weights ({record['scope']}), {record['batches']} batches of {record['batch']}, {record['device']}"
    together = f"together {record['together_seconds']:.3f} s; the arithmetic alone takes {record['floor_seconds']:.3f} s"
    return "\n".join([head, *rows(record), together])


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=SIZES, default="demo")
    given.add_argument("--dtype", choices=DTYPES, default="float32")
    given.add_argument("--scope", default="full")
    given.add_argument("--batch", type=int, default=16, help="pictures in a batch")
    given.add_argument("--batches", type=int, default=10)
    given.add_argument("--fraction", type=float, default=0.005, help="share trimmed")
    given.add_argument("--tokens", type=int, default=77, help="tokens of a prompt")
    given.add_argument("--repeats", type=int, default=3)
    options = given.parse_args(argv)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
