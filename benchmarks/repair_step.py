"""A repair step beside its floor: one forward and backward pass on each batch, and one optimizer update.

    python benchmarks/repair_step.py --steps 20

What a step takes beyond the floor is the price of the projection and of the numbers it reports. The floor is measured twice, as two
contestants: how far it lies from itself is what this measurement cannot resolve, and a ratio nearer to 1 than that says nothing. All
alternate in one process, each on its own copy of the network.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from host import Record, alternate, facts, parser, publish, rows, summary
from models import SIZES, build_unet, random_task

from erase.diffusion import DTYPES
from erase.repair import repair
from erase.task import Task
from erase.training.optimizers import OptimizerConfig

LEARNING_RATE = 1e-5
FORGET_WEIGHT = 0.1


def build(options: argparse.Namespace) -> Any:
    """The UNet of a pipeline folder, or one of a size with random weights."""
    if options.model:
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel.from_pretrained(options.model, subfolder="unet").to(options.device)
    torch.manual_seed(0)
    with torch.device(options.device):
        return build_unet(options.size)


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


def measure(options: argparse.Namespace) -> Record:
    """The record of one run."""
    begun = facts(options.device)
    unet = build(options).eval()
    shape = (options.scope, options.batch, options.tokens, DTYPES[options.dtype], options.side)
    tasks = {way: random_task(copy.deepcopy(unet), *shape) for way in ("floor", "floor again", "step")}
    steps = repair(
        tasks["step"],
        options.steps + options.warmup,
        optimizer=OptimizerConfig(learning_rate=LEARNING_RATE),
        forget_weight=FORGET_WEIGHT,
    )
    ways: dict[str, Callable[[], object]] = {way: make_floor(tasks[way]) for way in ("floor", "floor again")}
    ways["step"] = lambda: next(steps)
    times = alternate(ways, options.steps, options.warmup, options.device)
    return {
        "model": options.model or f"random, {options.size}",
        "scope": options.scope,
        "dtype": options.dtype,
        "weights": sum(weight.numel() for weight in tasks["step"].weights.values()),
        "batch": options.batch,
        "steps": options.steps,
        **summary(times, "floor"),
    } | begun


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    head = f"{record['weights']:,} weights ({record['scope']}), batch {record['batch']} + {record['batch']}, {record['steps']} steps"
    return "\n".join([f"{head}, {record['device']}, {record['threads']} threads", *rows(record)])


def main(argv: list[str] | None = None) -> None:
    given = parser(__doc__)
    given.add_argument("--model", help="pipeline folder; without it a UNet with random weights")
    given.add_argument("--size", choices=SIZES, default="demo", help="of the UNet with random weights")
    given.add_argument("--dtype", choices=DTYPES, default="float32")
    given.add_argument("--scope", default="full")
    given.add_argument("--batch", type=int, default=16, help="pictures in each of the two batches")
    given.add_argument("--tokens", type=int, default=32, help="tokens of a prompt")
    given.add_argument("--side", type=int, help="side of the latents, in place of the model's own")
    given.add_argument("--steps", type=int, default=20)
    given.add_argument("--warmup", type=int, default=2)
    options = given.parse_args(argv)
    record = measure(options)
    publish(record, table(record), options.json)


if __name__ == "__main__":
    main()
