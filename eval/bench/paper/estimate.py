"""What a table or figure takes: networks, steps, pictures and time. Nothing is run but a few steps of the network, to time them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil
from typing import Any

from eval.bench.paper.items import TRAINED, Item
from eval.bench.paper.plan import PlannedCell, settled

SHAPES = {"digits": (10, 1, 8), "cifar10": (10, 3, 32), "cifar100": (100, 3, 32), "svhn": (10, 3, 32), "celeba": (307, 3, 224)}
"""Data set -> classes, channels and pixels of a side."""

ON_FORGET_SET = ("gradient_ascent", "boundary_shrink", "boundary_expand")
"""Methods whose epochs are over the forget set alone."""

TIMED, CPU_BATCH = 3, 32  # steps that are timed, and images of each on a CPU, where time grows with their number
FORWARD = 1 / 3  # of a training step


def estimate(item: Item, cells: Sequence[PlannedCell]) -> list[dict[str, Any]]:
    """One record for each cell of a table that is trained here; for others, for each protocol that the paper used."""
    if item.kind in TRAINED:
        return [cell_estimate(cell) for cell in cells]
    from eval.protocols import load_protocol

    protocols = [load_protocol(cell.protocol) for cell in item.cells]
    return [
        {
            "cell": cell.title,
            "protocol": protocol.name,
            "pictures of each model": protocol.pictures,
            "sampling steps of each": protocol.pictures * protocol.steps,
        }
        for cell, protocol in zip(item.cells, protocols, strict=True)
    ]


def cell_estimate(cell: PlannedCell) -> dict[str, Any]:
    """Over all seeds: networks, optimizer steps, images that pass through in training and in measuring, and seconds."""
    job, seeds = cell.job, cell.job.seeds
    samples = job.train_samples or cell.cell.samples
    trained = job.training.epochs * (2 * samples - cell.forgotten)
    trained += sum(_unlearned(cell, number, samples) for number in range(len(cell.entries)))
    networks = 2 + len(cell.entries)
    trained += networks * job.relearn * cell.forgotten
    measured = networks * (samples + (cell.cell.test_samples if job.train_samples is None else 600))
    of_training = seconds_an_image(cell)
    return {
        "cell": cell.cell.title,
        "networks": networks * seeds,
        "steps": ceil(trained / job.training.batch) * seeds,
        "images trained": trained * seeds,
        "images measured": measured * seeds,
        "hours": round(seeds * of_training * (trained + measured * FORWARD) / 3600, 3),
    }


def _unlearned(cell: PlannedCell, number: int, samples: int) -> int:
    """Images that pass through the network while a method unlearns, about; a method without epochs makes about one pass."""
    entry = cell.entries[number]
    epochs = settled(entry, cell.cell).epochs
    if epochs is None:
        return samples
    return epochs * (cell.forgotten if entry.method in ON_FORGET_SET else samples)


def seconds_an_image(cell: PlannedCell) -> float:
    """Of training, on the job's device: a few steps on random images."""
    import torch
    import torch.nn.functional as F

    from erase.classifiers.networks import build_network
    from erase.diffusion import pick_device

    job, device = cell.job, pick_device(cell.job.device)
    classes, channels, size = SHAPES["digits" if job.train_samples is not None else cell.cell.dataset]
    network = build_network(job.training.network, classes, channels, size).to(device)
    batch = min(job.training.batch, CPU_BATCH) if device == "cpu" else job.training.batch
    x, y = torch.zeros(batch, channels, size, size, device=device), torch.zeros(batch, dtype=torch.int64, device=device)
    update = torch.optim.SGD(network.parameters(), lr=0.0)
    start = 0.0
    for number in range(TIMED + 1):
        if number == 1:  # the first one prepares the libraries
            start = time.monotonic()
        update.zero_grad()
        F.cross_entropy(network(x), y).backward()
        update.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
    return (time.monotonic() - start) / TIMED / batch
