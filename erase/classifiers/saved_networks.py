"""Networks on disk: trained with a checkpoint to go on from, written with what it took, read where they fit; and memory.

Knows no data and no method by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from erase.errors import InputError
from erase.files import write_tensors
from erase.run import disk_errors
from erase.task import Method, Task
from erase.training.meters import Clock, Memory

SAVED = 30.0  # seconds of training between checkpoints
FACTS = "erase-concept"  # the key of the metadata


def train(method: Method, task: Task, path: Path, told: Callable[[int], None]) -> None:
    """Run a training method to its end and write the network; a kill costs at most the last SAVED seconds."""
    part = path.with_suffix(".checkpoint")
    state, spent = _checkpoint(part)
    device = str(next(task.network.parameters()).device)
    with Memory(device) as memory:
        clock = Clock(device, spent)
        saved = time.monotonic()
        for step in method(task, state):
            told(step.step)
            if time.monotonic() - saved > SAVED:
                _write(part, step.snapshot(), clock.read())
                saved = time.monotonic()
    write_network(path, task.network, {**clock.read(), "peak_bytes": memory.peak})
    part.unlink(missing_ok=True)


def write_network(path: Path, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """The state of a network as safetensors, its facts as JSON in the metadata. Tied weights are written once each."""
    with disk_errors(path):
        write_tensors(
            path, {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}, {FACTS: json.dumps(facts)}
        )


def read_facts(path: Path) -> dict[str, Any]:
    """What was written beside a network; empty where nothing was."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}); put it there again, or remove it") from error
    return dict(json.loads(metadata.get(FACTS, "{}")))


def read_network(path: Path, network: nn.Module) -> None:
    """Put weights and buffers into a network; InputError where they are of another."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}); put it there again, or remove it") from error
    own = network.state_dict()
    odd = [name for name in {**own, **tensors} if name not in own or name not in tensors or own[name].shape != tensors[name].shape]
    if odd:
        raise InputError(f"{path} does not fit the network: {odd[0]} is missing or of another shape; give the --network that it is of")
    network.load_state_dict(tensors)


def _checkpoint(path: Path) -> tuple[dict[str, Tensor] | None, dict[str, float]]:
    return (dict(load_file(path)), read_facts(path)) if path.exists() else (None, {})


def _write(path: Path, state: Mapping[str, Tensor], spent: Mapping[str, float]) -> None:
    with disk_errors(path):
        write_tensors(path, dict(state), {FACTS: json.dumps(dict(spent))})

