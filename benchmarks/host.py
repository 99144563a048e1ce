"""What every measurement shares: facts about the host, fair timing, peaks of memory, and the record as table and JSON.

Contestants alternate in one process, so that whatever else the machine does meets all of them. Medians of wall time tell what a
user meets; on a machine that does other work, trust the minima of processor time (meaningful on the CPU only).
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from erase.files import check_file, sha256, write_json

Record = dict[str, Any]
Times = dict[str, list[tuple[float, float]]]


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def facts(device: str = "cpu") -> Record:
    """What a number depends on beside the code; `load` is the machine's average over the last minute."""
    return {
        "device": torch.cuda.get_device_name(torch.device(device)) if device.startswith("cuda") else device,
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def images_folder(output: Path, pipeline: Path) -> Path:
    """Where a model's images are drawn: a folder for its weights, so that a resumed run never takes another model's images for its own."""
    digests = "".join(sha256(path) for path in sorted(pipeline.rglob("*.safetensors")))
    return output / hashlib.sha256(digests.encode()).hexdigest()[:12]


# --- time -------------------------------------------------------------------------------------------------------------


def synchronise(device: str) -> None:
    """Wait for what is queued on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: str = "cpu") -> tuple[float, float]:
    """Seconds of wall and of processor time, all queued device work included."""
    synchronise(device)
    wall, processor = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return time.perf_counter() - wall, time.process_time() - processor


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int, warmup: int, device: str = "cpu") -> Times:
    """`timed` of every contestant in every round but the first `warmup`.

    Who goes first changes, lest one always find the caches warm.
    """
    times: Times = {way: [] for way in ways}
    order = list(ways)
    for number in range(warmup + rounds):
        for way in order:
            spent = timed(ways[way], device)
            if number >= warmup:
                times[way].append(spent)
        order = order[1:] + order[:1]
    return times


def summary(times: Times, against: str) -> Record:
    """All times, medians and minima, and the ratio of each contestant to the one named."""
    wall = {way: statistics.median(wall for wall, _ in spent) for way, spent in times.items()}
    least = {way: min(processor for _, processor in spent) for way, spent in times.items()}
    return {
        "wall_seconds": {way: [round(wall, 4) for wall, _ in spent] for way, spent in times.items()},
        "processor_seconds": {way: [round(processor, 4) for _, processor in spent] for way, spent in times.items()},
        "median_wall": wall,
        "least_wall": {way: min(wall for wall, _ in spent) for way, spent in times.items()},
        "least_processor": least,
        "against": against,
        "ratio_of_wall_medians": {way: wall[way] / wall[against] for way in times},
        "ratio_of_least_processor": {way: least[way] / least[against] if least[against] else None for way in times},
    }


def rows(record: Mapping[str, Any], unit: str = "s") -> list[str]:
    """A summary as lines of a table."""
    wide = max(len(way) for way in record["median_wall"]) + 2
    lines = [f"{'':{wide}}{'median wall':>14}{'least':>12}{'ratio':>8}{'least processor':>18}{'ratio':>8}"]
    for way, median in record["median_wall"].items():
        wall, least, busy = record["ratio_of_wall_medians"][way], record["least_wall"][way], record["least_processor"][way]
        ratio = record["ratio_of_least_processor"][way]
        said = "-" if ratio is None else f"{ratio:.3f}"
        lines.append(f"{way:{wide}}{median:12.4f} {unit}{least:10.4f} {unit}{wall:8.3f}{busy:16.4f} {unit}{said:>8}")
    return lines


# --- memory -----------------------------------------------------------------------------------------------------------


def status(line: str) -> int:
    """A line of this process's status in bytes (Linux): VmRSS is what it holds, VmHWM the most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(entry for entry in lines if entry.startswith(line)).split()[1]) * 1024


def forget_peak(device: str = "cpu") -> int | None:
    """Let the peak begin here; bytes held now, None where that cannot be read."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    if not Path("/proc/self/clear_refs").exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process still holds would hide what is taken next
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def peak(device: str = "cpu") -> int | None:
    """The most bytes held since `forget_peak`: tensors on a card, the resident set on the host."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    return status("VmHWM") if Path("/proc/self/clear_refs").exists() else None


# --- options and records ------------------------------------------------------------------------------------------------


def parser(doc: str | None, device: bool = True) -> argparse.ArgumentParser:
    """The options that all have; without `device` where everything runs on the CPU."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if device:
        made.add_argument("--device", default="cpu")
    made.add_argument("--json", type=Path, help="also write the record here")
    return made


def publish(record: Mapping[str, Any], table: str, path: Path | None) -> None:
    """Print the table, then the record; write the record where it was asked for, over an earlier one but no other file."""
    if path:
        check_file(path, "json", "json")
    print(table)
    print(json.dumps(record, indent=1))
    sys.stdout.flush()
    if path:
        write_json(path, record)
