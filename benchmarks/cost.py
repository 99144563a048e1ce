"""What a repair step costs as things grow: seconds and memory against weights, pictures a batch, and processes.

    python benchmarks/cost.py
    python benchmarks/cost.py --device cuda --dtype bfloat16 --channels 320,640,1280,1280 --channel 320,640,1280,1280 --processes

Every point is a process of its own, so that none inherits another's memory. Memory is the peak over what the process held before it
made the network: weights, gradients, optimizer, what the passes keep. Fixed batches of random latents; `repair` as it ships. Several
processes share each batch equally and have one thread each, a single one too, so that what is compared is processes alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from host import Record, facts, forget_peak, parser, peak, publish, timed
from models import build_unet, random_task

from erase.diffusion import DTYPES
from erase.processes import average, join, processes
from erase.repair import repair

CHANNELS = ("32,64", "64,128", "96,192", "128,256", "192,384")
SCOPES = ("full", "cross-attention")


def point(channels: str, scope: str, options: argparse.Namespace, batch: int) -> Record:
    """Seconds and memory of some steps in this process, which may be one of several."""
    count = processes()[1]
    join(options.device)
    wide = tuple(int(width) for width in channels.split(","))
    build_unet("demo")  # what is imported at first use is not counted
    before = forget_peak(options.device)
    torch.manual_seed(0)
    with torch.device(options.device):
        unet = build_unet("sd1" if len(wide) == 4 else "demo", wide)
    task = replace(random_task(unet, scope, batch // count, options.tokens, DTYPES[options.dtype]), average=average)
    total = options.warmup + options.steps
    stepping = repair(task, total)
    times = [timed(lambda: next(stepping), options.device) for _ in range(total)][options.warmup :]
    most = peak(options.device)
    return {
        "channels": channels,
        "scope": scope,
        "batch": batch,
        "processes": count,
        "weights": sum(weight.numel() for weight in unet.parameters()),
        "weights_in_scope": sum(weight.numel() for weight in task.weights.values()),
        "median_wall": statistics.median(wall for wall, _ in times),
        "least_wall": min(wall for wall, _ in times),
        "least_processor": min(busy for _, busy in times),
        "peak_bytes": None if most is None or before is None else most - before,
    }


def apart(channels: str, scope: str, options: argparse.Namespace, batch: int, count: int = 0) -> Record:
    """`point` in a process of its own, or in `count` processes of one thread each."""
    shared = [f"--{name}={getattr(options, name)}" for name in ("device", "dtype", "tokens", "steps", "warmup")]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    command = [sys.executable, *launcher, __file__, *shared, "--point", channels, scope, str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if count else None
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"the point {channels}, {scope}, batch {batch} failed:\n{done.stderr}")
    found: Record = json.loads(done.stdout)
    return found


def exponent(points: Sequence[Mapping[str, Any]], x: str, y: str) -> float | None:
    """The slope of log y over log x: 1 is in proportion, 0 is no cost."""
    logs = [(math.log(p[x]), math.log(p[y])) for p in points if p[y]]
    if len({a for a, _ in logs}) < 2:
        return None
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def measure(options: argparse.Namespace) -> Record:
    """The record of one run; the point that both series share is measured once."""
    begun = facts(options.device)
    made: dict[tuple[str, int, str], Record] = {}
    for scope in options.scopes:
        for channels, batch in [(c, options.batch) for c in options.channels] + [(options.channel, b) for b in options.batches]:
            if (channels, batch, scope) not in made:
                made[channels, batch, scope] = apart(channels, scope, options, batch)
                print(line(made[channels, batch, scope]), flush=True)
    series = {}
    for scope in options.scopes:
        by_weights = [made[channels, options.batch, scope] for channels in options.channels]
        by_pictures = [made[options.channel, batch, scope] for batch in options.batches]
        for name, points, x in (("weights", by_weights, "weights"), ("pictures", by_pictures, "batch")):
            growth = {y: exponent(points, x, y) for y in ("least_processor", "median_wall", "peak_bytes")}
            series[f"{name}, {scope}"] = {"points": points, "exponents": growth}
        if options.processes:
            shared = [apart(options.channel, scope, options, options.batch, count) for count in options.processes]
            speed = {str(p["processes"]): shared[0]["median_wall"] / p["median_wall"] for p in shared}
            series[f"processes, {scope}"] = {"points": shared, "exponents": {}, "times_as_fast": speed}
    return {"dtype": options.dtype, "tokens": options.tokens, "steps": options.steps, "series": series} | begun


def line(p: Mapping[str, Any]) -> str:
    """A point as a line of the table."""
    held = "-" if p["peak_bytes"] is None else f"{p['peak_bytes'] / 1e6:.0f}"
    what = f"{p['channels']:20}{p['scope']:18}{p['weights'] / 1e6:10.2f}{p['weights_in_scope'] / 1e6:10.2f}{p['batch']:8}{p['processes']:7}"
    return f"{what}{p['median_wall']:12.4f}{p['least_processor']:12.4f}{held:>10}"


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    head = (
        f"{'channels':20}{'scope':18}{'10^6':>10}{'in scope':>10}{'batch':>8}{'proc.':>7}{'median s':>12}{'processor':>12}{'peak MB':>10}"
    )
    lines = [f"{record['device']}, {record['threads']} threads, {record['dtype']}", head]
    for name, series in record["series"].items():
        growth = ", ".join(f"{y} {slope:.2f}" for y, slope in series["exponents"].items() if slope is not None)
        faster = ", ".join(f"{count}: {times:.2f}" for count, times in series.get("times_as_fast", {}).items())
        lines += [f"against {name}", *map(line, series["points"])]
        lines += [f"  exponents: {growth}"] * bool(growth) + [f"  times as fast: {faster}"] * bool(faster)
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--channels", nargs="*", default=list(CHANNELS), help="UNets, each by the channels of its levels")
    given.add_argument("--channel", default="64,128", help="the UNet for which pictures are varied")
    given.add_argument("--batch", type=int, default=16, help="pictures in each of the two batches, where weights are varied")
    given.add_argument("--batches", type=int, nargs="*", default=[4, 8, 16, 32])
    given.add_argument("--scopes", nargs="+", default=list(SCOPES))
    given.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="numbers of processes; none leaves them out")
    given.add_argument("--dtype", choices=DTYPES, default="float32")
    given.add_argument("--tokens", type=int, default=32, help="tokens of a prompt")
    given.add_argument("--steps", type=int, default=8, help="steps that are timed")
    given.add_argument("--warmup", type=int, default=2)
    given.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    options = given.parse_args(argv)
    if options.point:
        channels, scope, batch = options.point
        found = point(channels, scope, options, int(batch))
        if processes()[0] == 0:
            print(json.dumps(found))
        return
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
