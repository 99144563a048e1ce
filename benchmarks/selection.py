"""Global top-k selection: `erase.trim.top_k_mask` beside what it replaces, one concatenation on the host and kthvalue.

    python benchmarks/selection.py --scores 50_000_000

Both give masks, and the masks are compared. Times alternate in one process. Memory is the rise of the peak resident set over
the scores, each in a process of its own: the masks (one byte a score, the same for both) are subtracted.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from erase.trim import top_k_mask


def make_scores(n: int, tensors: int, device: str) -> dict[str, Tensor]:
    """Products of normal numbers, as |g w| is, at another scale in each tensor; sizes from small to large."""
    random = torch.Generator().manual_seed(0)
    edges = [n * i * i // (tensors * tensors) for i in range(tensors + 1)]
    scores = {f"layer{i}": torch.empty(edges[i + 1] - edges[i]) for i in range(tensors)}
    factor = torch.empty(1 << 18)  # one buffer for all: temporaries would leave holes in which what is measured could hide
    for i, score in enumerate(scores.values()):
        for piece in score.split(len(factor)):
            piece.normal_(generator=random).mul_(factor[: len(piece)].normal_(generator=random)).abs_().mul_(10.0 ** (i % 5 - 8))
    return {name: score.to(device) for name, score in scores.items()}


def by_kthvalue(scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """The usual way: everything on the host in one piece, its k-th largest, and a comparison."""
    flat = torch.cat([score.flatten().cpu() for score in scores.values()])
    border = torch.kthvalue(flat, len(flat) - k + 1).values.item()
    return {name: score >= border for name, score in scores.items()}


WAYS = {"histogram": top_k_mask, "kthvalue": by_kthvalue}


def memory(line: str) -> int:
    """A line of this process's status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(entry for entry in lines if entry.startswith(line)).split()[1]) * 1024


def rise(way: str, n: int, tensors: int, k: int) -> int:
    """By how much the peak resident set exceeds scores and masks."""
    scores = make_scores(n, tensors, "cpu")
    WAYS[way](make_scores(100_000, 3, "cpu"), 500)  # what loads at first use is not counted
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process still holds would hide what is taken next
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
    before = memory("VmRSS")
    masks = WAYS[way](scores, k)
    return memory("VmHWM") - before - sum(mask.numel() for mask in masks.values())


def extra_memory(way: str, options: argparse.Namespace, k: int) -> int | None:
    """`rise` in a fresh process; None where the peak cannot be read."""
    if not Path("/proc/self/status").exists() or options.device != "cpu":
        return None
    command = [sys.executable, __file__, "--rise", way, "--scores", str(options.scores), "--tensors", str(options.tensors), "--k", str(k)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def timed(way: str, scores: Mapping[str, Tensor], k: int) -> tuple[float, dict[str, Tensor]]:
    """Wall seconds, all queued device work included."""
    start = time.perf_counter()
    masks = WAYS[way](scores, k)
    if next(iter(scores.values())).is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, masks


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(options: argparse.Namespace) -> dict[str, object]:
    """The record of one run."""
    k = options.k or round(options.fraction * options.scores)
    extra = {way: extra_memory(way, options, k) for way in WAYS}
    scores = make_scores(options.scores, options.tensors, options.device)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        masks = {}
        for way in WAYS:
            spent, masks[way] = timed(way, scores, k)
            seconds[way].append(spent)
        # Of equals at the border kthvalue's masks hold all, the histogram's exactly as many as are wanted.
        assert sum(int(mask.sum()) for mask in masks["histogram"].values()) == k
        assert all(bool((masks["kthvalue"][name] | ~mask).all()) for name, mask in masks["histogram"].items())
        extras = sum(int(mask.sum()) for mask in masks["kthvalue"].values()) - k
    median = {way: statistics.median(values) for way, values in seconds.items()}
    size = 4 * options.scores
    return {
        "scores": options.scores,
        "tensors": options.tensors,
        "k": k,
        "ties_left_out": extras,
        "seconds": {way: [round(s, 4) for s in values] for way, values in seconds.items()},
        "median_seconds": median,
        "times_faster": median["kthvalue"] / median["histogram"],
        "extra_bytes": extra,
        "extra_share_of_scores": {way: None if taken is None else taken / size for way, taken in extra.items()},
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def table(record: Mapping[str, object]) -> str:
    """The record for people."""
    rows = [
        f"{record['scores']:,} scores in {record['tensors']} tensors, k = {record['k']:,}, {record['device']}, {record['threads']} threads"
    ]
    rows.append(f"{'':12}{'median s':>10}{'extra memory / scores':>24}")
    for way in WAYS:
        share = record["extra_share_of_scores"][way]
        rows.append(f"{way:12}{record['median_seconds'][way]:10.3f}{'-' if share is None else f'{share:.1%}':>24}")
    return "\n".join([*rows, f"histogram is {record['times_faster']:.1f} times as fast"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=50_000_000)
    parser.add_argument("--tensors", type=int, default=200)
    parser.add_argument("--fraction", type=float, default=0.005, help="share selected")
    parser.add_argument("--k", type=int, help="number selected, instead of a share")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the record here")
    parser.add_argument("--rise", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rise:
        print(rise(options.rise, options.scores, options.tensors, options.k))
        return
    record = measure(options)
    print(table(record))
    print(json.dumps(record, indent=1))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
