"""Many visitors at once on the page: each compares again and again, over HTTP on loopback, as a browser would ask.

    python benchmarks/visitors.py --visitors 50 --seconds 120 --json benchmarks/results/visitors.json

Before that one visitor alone: the time from the command to a page, and of a first comparison. Then it counts errors and lost
comparisons, measures from a click to the first message and to the last image, checks whether anybody overtook anybody, and follows
the memory of the page and of its worker. Every comparison has a seed of its own, so that none is cached.
With --comparisons N it ends after N instead: memory that grows shows over hundreds of them. Linux only (reads /proc).
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host import Record, facts, parser, publish
from visiting import ROOT, Click, Visitor, resident, served, worker_of

SMALL = ("--forget-count", "8", "--retain-count", "8", "--evaluate-count", "4", "--sampling-steps", "2", "--steps", "3")
STYLES, COLOURS, SHAPES = ("striped", "dotted", "solid"), ("red", "blue"), ("star", "ring", "heart")
PROMPTS = [f"a {style} {colour} {shape}" for style in STYLES for colour in COLOURS for shape in SHAPES]
LATER = 0.5  # seconds that the last image may be later than another's before that counts as overtaking


@dataclass
class Visits:
    """What all visitors do together."""

    run: str
    each: int
    most: int | None
    until: float = 0.0
    begun: int = 0
    clicks: list[Click] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.begun >= self.most if self.most else time.monotonic() > self.until


def comparison(run: str, prompt: int, seed: int, each: int) -> dict[str, Any]:
    """The values of the controls that a visitor sets, by label."""
    return {"Prompts": PROMPTS[prompt % len(PROMPTS)], "Seed": seed, "Images": each, "Erased models": [run]}


# --- visitors -------------------------------------------------------------------------------------------------------


async def visit(number: int, visitor: Visitor, visits: Visits) -> None:
    """Compare without a pause until it is over."""
    while not visits.over:
        visits.begun += 1
        turn = visits.begun
        visits.clicks.append(await visitor.compare(comparison(visits.run, turn, 1000 * number + turn, visits.each)))


# --- numbers --------------------------------------------------------------------------------------------------------


async def measure(address: str, pid: int, count: int, visits: Visits, seconds: float) -> list[dict[str, float]]:
    """All visitors at once, after all have opened the page; the memory of page and worker every second."""
    memory: list[dict[str, float]] = []

    async def follow() -> None:
        start, worker = time.monotonic(), worker_of(pid)
        while True:
            memory.append({"seconds": round(time.monotonic() - start), "page": resident(pid), "worker": resident(worker)})
            await asyncio.sleep(1)

    visitors = [Visitor(address) for _ in range(count)]
    await asyncio.gather(*(visitor.open() for visitor in visitors))
    visits.until = time.monotonic() + seconds
    watching = asyncio.ensure_future(follow())
    await asyncio.gather(*(visit(number, visitor, visits) for number, visitor in enumerate(visitors)))
    watching.cancel()
    for visitor in visitors:
        await visitor.client.aclose()
    return memory


async def alone(address: str, each: int) -> tuple[float, float]:
    """The first visitor: the time at which the page has answered, and the seconds that the first comparison takes."""
    visitor = Visitor(address)
    await visitor.open()
    opened = time.monotonic()
    click = await visitor.compare(comparison("star-1", 0, 1, each))
    await visitor.client.aclose()
    return opened, click.ended - click.requested


def summary(clicks: Sequence[Click], begun: int, each: int, memory: Sequence[dict[str, float]]) -> Record:
    """The numbers of a load: what went wrong, how long it took, who was overtaken, what memory did."""
    good = [click for click in clicks if click.ended and not click.error]
    waits, words = sorted(click.ended - click.requested for click in good), sorted(click.answered - click.requested for click in good)
    overtaken = sum(one.joined < other.requested and other.ended < one.ended - LATER for one in good for other in good)
    quarter = max(1, len(memory) // 4)
    resident_sizes = {
        name: {
            "first_quarter_MiB": round(statistics.median(entry[name] for entry in memory[:quarter]) / 2**20),
            "last_quarter_MiB": round(statistics.median(entry[name] for entry in memory[-quarter:]) / 2**20),
            "most_MiB": round(max(entry[name] for entry in memory) / 2**20),
        }
        for name in ("page", "worker")
    }
    return {
        "comparisons": len(good),
        "errors": len([click for click in clicks if click.error]),
        "said": sorted({click.error for click in clicks if click.error})[:5],
        "lost": begun - len(clicks),
        "incomplete": len([click for click in good if click.images != 2 * each]),
        "overtaken": overtaken,
        "wait_seconds": {"p50": at(waits, 0.5), "p95": at(waits, 0.95), "most": at(waits, 1)},
        "first_word_seconds": {"p50": at(words, 0.5), "p95": at(words, 0.95), "most": at(words, 1)},
        "memory": resident_sizes,
    }


def at(values: Sequence[float], share: float) -> float | None:
    """The value that so large a share of the sorted ones does not exceed."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 2) if values else None


def table(record: Record) -> str:
    """The record as text."""
    wait, word, memory = record["wait_seconds"], record["first_word_seconds"], record["memory"]
    counts = ", ".join(f"{record[name]} {name}" for name in ("errors", "lost", "incomplete", "overtaken"))
    return "\n".join(
        [
            f"{record['visitors']} visitors, {record['comparisons']} comparisons of {record['each']} + {record['each']} images: {counts}",
            f"from the command to a page {record['open_seconds']} s, first comparison {record['first_comparison_seconds']} s",
            f"to the last image    median {wait['p50']} s, 95 % {wait['p95']} s, most {wait['most']} s",
            f"to the first message median {word['p50']} s, 95 % {word['p95']} s, most {word['most']} s",
            *(f"{name:20} {', '.join(f'{key} {value}' for key, value in sizes.items())}" for name, sizes in memory.items()),
        ]
    )


def run(options: Namespace) -> Record:
    """A page over a small erased model, and the visitors."""
    begun = facts()
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch)
        job = [sys.executable, "-m", "erase", "--concept", "star", "--output", str(runs / "star-1"), *SMALL]
        subprocess.run(job, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        start = time.monotonic()
        with served(runs) as (address, pid):
            opened, first = asyncio.run(alone(address, options.each))
            opened -= start
            visits = Visits("star-1", options.each, options.comparisons)
            memory = asyncio.run(measure(address, pid, options.visitors, visits, options.seconds))
    plan = {"visitors": options.visitors, "seconds": options.seconds, "each": options.each}
    plan |= {"open_seconds": round(opened, 2), "first_comparison_seconds": round(first, 2)}
    return plan | summary(visits.clicks, visits.begun, options.each, memory) | begun


def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__, device=False)
    arguments.add_argument("--visitors", type=int, default=50)
    arguments.add_argument("--seconds", type=float, default=120.0, help="after which no more comparisons are started")
    arguments.add_argument("--comparisons", type=int, help="end after N comparisons instead")
    arguments.add_argument("--each", type=int, default=4, help="images from each of the two models")
    options = arguments.parse_args(argv)
    record = run(options)
    publish(record, table(record), options.json)
    if any(record[name] for name in ("errors", "lost", "incomplete")) or not record["comparisons"]:
        sys.exit(f"comparisons failed: {'; '.join(record['said']) or 'images are missing'}")


if __name__ == "__main__":
    main()
