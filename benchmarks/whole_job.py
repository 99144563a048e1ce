"""The whole main job at Stable Diffusion 1.x's size: does it fit into the host's memory, and what does each stage take?

    python benchmarks/whole_job.py                          on the CPU, small pictures, two steps: slow, but it must not run out
    python benchmarks/whole_job.py --scope full             what this script does not know goes on to erase-concept

A pipeline with random weights (1.1 billion in all) is written to a folder of its own and erased from with the command, as a user would;
the peak is that of the command's process.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host import Record, facts, parser, publish
from models import build_pipeline

from erase.demo import pipeline_path
from erase.run import Run

SMALL = {
    "--forget-count": "2", "--retain-count": "2", "--evaluate-count": "2", "--sampling-steps": "2", "--sampling-batch": "1", "--steps": "2",
    "--batch": "2", "--sensitivity-batches": "1",
}  # fmt: skip


def write_model(folder: Path, options: argparse.Namespace) -> None:
    """A folder as from_pretrained reads it."""
    if options.size == "demo":
        shutil.copytree(pipeline_path(), folder)
    else:
        build_pipeline("cpu", options.side).save_pretrained(folder)


def measure(options: argparse.Namespace, others: list[str]) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        model, run = Path(scratch) / "model", Path(scratch) / "run"
        # In a process of its own: what it held would count as this one's, and be there beside the command's.
        making = [sys.executable, __file__, "--write", str(model), "--size", options.size, "--side", str(options.side)]
        subprocess.run(making, check=True)
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        made = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        small = [word for pair in SMALL.items() if pair[0] not in others for word in pair]
        asked = ["--concept", options.concept, *small, *others]
        command = [sys.executable, "-m", "erase", *asked, "--model", str(model), "--output", str(run), "--device", options.device]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        spent = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"erase-concept ended with {done.returncode}:\n{done.stderr[-2000:]}")
        stages = Run.read(run).stages()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "size": options.size,
        "side": options.side,
        "command": ["erase-concept", *asked],
        "model_bytes": size,
        "seconds": spent,
        "stage_seconds": {name: found["seconds"] for name, found in stages.items()},
        "stage_peak_bytes": {name: found["peak_bytes"] for name, found in stages.items() if "peak_bytes" in found},
        "peak_bytes": peak * unit if peak > made else max(found.get("peak_bytes", 0) for found in stages.values()),
    } | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    held = record["stage_peak_bytes"]
    lines = [" ".join(record["command"]), f"{'stage':14}{'seconds':>10}{'peak so far':>14}"]
    for name, seconds in record["stage_seconds"].items():
        peak = f"{held[name] / 1e9:.2f} GB" if name in held else ""
        lines.append(f"{name:14}{seconds:10.1f}{peak:>14}")
    return "\n".join([*lines, f"{'all':14}{record['seconds']:10.1f}{record['peak_bytes'] / 1e9:>11.2f} GB"])


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--size", choices=("demo", "sd1"), default="sd1")
    given.add_argument("--side", type=int, default=16, help="side of the latents (sd1 only); pictures are eight times as wide")
    given.add_argument("--concept", default="star")
    given.add_argument("--scratch", type=Path, help="where 14 GB can lie for a while")
    given.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options, others = given.parse_known_args(argv)
    if options.write:
        write_model(options.write, options)
        return
    record = measure(options, others)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
