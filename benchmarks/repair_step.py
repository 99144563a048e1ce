"""A repair step beside its floor: one forward and backward pass on each batch, and one optimizer update.

    python benchmarks/repair_step.py --steps 20

What a step takes beyond the floor is the price of the projection and of the numbers it reports. The floor is measured twice, as two
contestants: how far it lies from itself is what this measurement cannot resolve, and a ratio nearer to 1 than that says nothing. All
alternate in one process, each on its own copy of the network. Medians of wall time tell what a user meets; on a machine that does
other work, trust the minima of processor time (meaningful on the CPU only).
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from selection import processor
from torch import Tensor, nn
from torch.nn import functional as F

from erase.repair import repair
from erase.scope import open_scope
from erase.task import Batch, Task, generator

LEARNING_RATE = 1e-5
FORGET_WEIGHT = 0.1


def build(options: argparse.Namespace) -> nn.Module:
    """The UNet of a pipeline folder, or one with random weights at the size of the embedded model."""
    if options.model:
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel.from_pretrained(options.model, subfolder="unet").to(options.device)
    from erase.demo.networks import build_unet

    torch.manual_seed(0)
    return build_unet().to(options.device)


def batch(unet: nn.Module, name: str, options: argparse.Namespace) -> Batch:
    """Random latents, text and times, of the shapes that the UNet expects."""
    random, side = generator("benchmark", name), options.side or unet.config.sample_size
    latents = (options.batch, unet.config.in_channels, side, side)
    made = {
        "noisy": torch.randn(latents, generator=random),
        "target": torch.randn(latents, generator=random),
        "time": torch.randint(1000, (options.batch,), generator=random),
        "text": torch.randn(options.batch, options.tokens, unet.config.cross_attention_dim, generator=random),
    }
    return {key: value.to(options.device) for key, value in made.items()}


def loss(unet: nn.Module, batch: Batch) -> Tensor:
    """The training loss of a diffusion model."""
    return F.mse_loss(unet(batch["noisy"], batch["time"], batch["text"]).sample, batch["target"])


def make_floor(task: Task) -> Callable[[], None]:
    """Two passes whose gradients add up in place, and one update: nothing less moves the weights along both."""
    weights = list(task.weights.values())
    update = torch.optim.Adam(weights, lr=LEARNING_RATE, foreach=True)

    def step() -> None:
        task.unlearn(task.network, task.forget(0)).backward()
        task.loss(task.network, task.retain(0)).backward()
        update.step()
        update.zero_grad()

    return step


def make_task(unet: nn.Module, options: argparse.Namespace) -> Task:
    """Ascent on one batch, descent on another; both fixed, for their making is not what is timed."""
    batches = {name: batch(unet, name, options) for name in ("forget", "retain")}
    weights = open_scope(unet, options.scope)
    return Task(
        network=unet,
        forget=lambda number: batches["forget"],
        retain=lambda number: batches["retain"],
        loss=loss,
        unlearn=lambda network, batch: -loss(network, batch),
        weights=weights,
    )


def timed(step: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds of wall and of processor time, all queued device work included."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(options: argparse.Namespace) -> dict[str, object]:
    """The record of one run."""
    unet = build(options).eval()
    tasks = {way: make_task(copy.deepcopy(unet), options) for way in ("floor", "floor again", "step")}
    total = options.steps + options.warmup
    steps = repair(tasks["step"], total, "adam", LEARNING_RATE, FORGET_WEIGHT)
    ways: dict[str, Callable[[], object]] = {way: make_floor(tasks[way]) for way in ("floor", "floor again")}
    ways["step"] = lambda: next(steps)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    order = list(ways)
    for number in range(total):
        for way in order:
            spent = timed(ways[way], options.device)
            if number >= options.warmup:
                times[way].append(spent)
        order = order[1:] + order[:1]  # who goes first changes, lest one always find the caches warm
    wall = {way: statistics.median(wall for wall, _ in spent) for way, spent in times.items()}
    least = {way: min(processor for _, processor in spent) for way, spent in times.items()}
    return {
        "model": options.model or "random",
        "scope": options.scope,
        "weights": sum(weight.numel() for weight in tasks["step"].weights.values()),
        "batch": options.batch,
        "steps": options.steps,
        "wall_seconds": {way: [round(wall, 4) for wall, _ in spent] for way, spent in times.items()},
        "processor_seconds": {way: [round(processor, 4) for _, processor in spent] for way, spent in times.items()},
        "median_wall": wall,
        "least_processor": least,
        "ratio_of_wall_medians": {way: wall[way] / wall["floor"] for way in ways},
        "ratio_of_least_processor": {way: least[way] / least["floor"] for way in ways},
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def table(record: Mapping[str, object]) -> str:
    """The record for people."""
    head = f"{record['weights']:,} weights ({record['scope']}), batch {record['batch']} + {record['batch']}, {record['steps']} steps"
    rows = [
        f"{head}, {record['device']}, {record['threads']} threads",
        f"{'':12}{'median wall':>14}{'ratio':>8}{'least processor':>18}{'ratio':>8}",
    ]
    for way in record["median_wall"]:
        wall, least = record["median_wall"][way], record["least_processor"][way]
        ratios = record["ratio_of_wall_medians"][way], record["ratio_of_least_processor"][way]
        rows.append(f"{way:12}{wall:12.3f} s{ratios[0]:8.3f}{least:16.3f} s{ratios[1]:8.3f}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline folder; without it a UNet with random weights, at the embedded model's size")
    parser.add_argument("--scope", default="full")
    parser.add_argument("--batch", type=int, default=16, help="pictures in each of the two batches")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--side", type=int, help="side of the latents, in place of the model's own")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the record here")
    options = parser.parse_args()
    record = measure(options)
    print(table(record))
    print(json.dumps(record, indent=1))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
