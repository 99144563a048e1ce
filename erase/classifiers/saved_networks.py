"""Networks on disk: trained with checkpoints, written with facts about their training, and read where they fit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from erase.checkpoints.safetensors_header import load_tensors, metadata
from erase.classifiers.task import ClassifierTask
from erase.errors import InputError
from erase.files import parse_json, write_tensors
from erase.files.disk import disk_errors
from erase.task import Step
from erase.training.meters import Clock, Memory

SAVE_EVERY = 30.0
"""Seconds of training between checkpoints."""

Training = Callable[[ClassifierTask, Mapping[str, Tensor] | None], Iterator[Step]]
"""A method that trains `task.network`, resumed from a snapshot or from the start."""

FACTS = "erase-concept"
"""Key of the facts in the metadata of a safetensors file."""


def train(method: Training, task: ClassifierTask, path: Path, progress: Callable[[int], None]) -> None:
    """Run a training method to its end and write the network; a killed training loses at most the last SAVE_EVERY seconds.

    `progress` is called with the number of each step.
    """
    part = path.with_suffix(".checkpoint")
    state, spent = _checkpoint(part)
    device = str(next(task.network.parameters()).device)
    with Memory(device) as memory:
        clock = Clock(device, spent)
        saved = time.monotonic()
        for step in method(task, state):
            progress(step.step)
            if time.monotonic() - saved > SAVE_EVERY:
                _write(part, step.snapshot(), clock.read())
                saved = time.monotonic()
    write_network(path, task.network, {**clock.read(), "peak_bytes": memory.peak})
    part.unlink(missing_ok=True)


def write_network(path: Path, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Write the state of a network as safetensors, with facts as JSON in the metadata. Tied weights are written under each name."""
    with disk_errors(path):
        write_tensors(
            path, {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}, {FACTS: json.dumps(facts)}
        )


def read_facts(path: Path) -> dict[str, Any]:
    """The facts written with a network; empty if there are none."""
    facts = parse_json(metadata(path).get(FACTS, "{}"), f"the metadata of {path}")
    if not isinstance(facts, dict):
        raise InputError(f"the metadata of {path} is not an object of facts; replace it or remove it")
    return facts


def read_network(path: Path, network: nn.Module) -> None:
    """Load weights and buffers into a network; InputError if they are of another network."""
    tensors = load_tensors(path)
    own = network.state_dict()
    mismatched = [name for name in {**own, **tensors} if name not in own or name not in tensors or own[name].shape != tensors[name].shape]
    if mismatched:
        raise InputError(
            f"{path} does not fit the network: {mismatched[0]} is missing or has another shape; give the --network of the file"
        )
    network.load_state_dict(tensors)


def _checkpoint(path: Path) -> tuple[dict[str, Tensor] | None, dict[str, float]]:
    return (load_tensors(path), read_facts(path)) if path.exists() else (None, {})


def _write(path: Path, state: Mapping[str, Tensor], spent: Mapping[str, float]) -> None:
    with disk_errors(path):
        write_tensors(path, dict(state), {FACTS: json.dumps(dict(spent))})
