"""Global top-k selection: `erase.trim.top_k_mask` beside what it replaces, one concatenation on the host and kthvalue.

    python benchmarks/selection.py --scores 50_000_000

Both give masks, and the masks are compared. Times alternate in one process. Memory is the rise of the peak resident set over
the scores, each in a process of its own: the masks (one byte a score, the same for both) are subtracted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from host import Record, alternate, facts, forget_peak, parser, peak, publish, rows, summary
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


def rise(way: str, n: int, tensors: int, k: int) -> int:
    """By how much the peak resident set exceeds scores and masks."""
    scores = make_scores(n, tensors, "cpu")
    WAYS[way](make_scores(100_000, 3, "cpu"), 500)  # what loads at first use is not counted
    before = forget_peak()
    masks = WAYS[way](scores, k)
    most = peak()
    assert before is not None
    assert most is not None
    return most - before - sum(mask.numel() for mask in masks.values())


def extra_memory(way: str, options: argparse.Namespace, k: int) -> int | None:
    """`rise` in a fresh process; None where the peak cannot be read."""
    if not Path("/proc/self/clear_refs").exists() or options.device != "cpu":
        return None
    command = [sys.executable, __file__, "--rise", way, "--scores", str(options.scores), "--tensors", str(options.tensors), "--k", str(k)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def keep(masks: dict[str, dict[str, Tensor]], way: str, scores: Mapping[str, Tensor], k: int) -> None:
    """Select one way and keep the masks, so that they can be compared."""
    masks[way] = WAYS[way](scores, k)


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    k = options.k or round(options.fraction * options.scores)
    extra = {way: extra_memory(way, options, k) for way in WAYS}
    scores = make_scores(options.scores, options.tensors, options.device)
    masks: dict[str, dict[str, Tensor]] = {}
    ways = {way: partial(keep, masks, way, scores, k) for way in WAYS}
    times = alternate(ways, options.repeats, 0, options.device)
    # Of equals at the border kthvalue's masks hold all, the histogram's exactly as many as are wanted.
    assert sum(int(mask.sum()) for mask in masks["histogram"].values()) == k
    assert all(bool((masks["kthvalue"][name] | ~mask).all()) for name, mask in masks["histogram"].items())
    extras = sum(int(mask.sum()) for mask in masks["kthvalue"].values()) - k
    size = 4 * options.scores
    return {
        "scores": options.scores,
        "tensors": options.tensors,
        "k": k,
        "ties_left_out": extras,
        **(found := summary(times, "histogram")),
        "times_faster": found["ratio_of_wall_medians"]["kthvalue"],
        "extra_bytes": extra,
        "extra_share_of_scores": {way: None if taken is None else taken / size for way, taken in extra.items()},
    } | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    lines = [
        f"{record['scores']:,} scores in {record['tensors']} tensors, k = {record['k']:,}, {record['device']}, {record['threads']} threads"
    ]
    lines += rows(record)
    for way in WAYS:
        share = record["extra_share_of_scores"][way]
        lines.append(f"{way}: extra memory {'-' if share is None else f'{share:.1%}'} of the scores")
    return "\n".join([*lines, f"histogram is {record['times_faster']:.1f} times as fast"])


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--scores", type=int, default=50_000_000)
    given.add_argument("--tensors", type=int, default=200)
    given.add_argument("--fraction", type=float, default=0.005, help="share selected")
    given.add_argument("--k", type=int, help="number selected, instead of a share")
    given.add_argument("--repeats", type=int, default=3)
    given.add_argument("--rise", choices=WAYS, help=argparse.SUPPRESS)
    options = given.parse_args(argv)
    if options.rise:
        print(rise(options.rise, options.scores, options.tensors, options.k))
        return
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
