"""What a method sees: a network, numbered batches to forget and to retain, two losses, and the weights it may change.

Nothing here knows diffusion or classification; `erase.diffusion` and `erase.classifiers.task` build Tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Named tensors with a common first dimension; everything random about a batch (noise, timesteps) is already in it."""

Batches = Callable[[int], Batch]
"""Batch number -> batch. The same number gives the same batch on every call, so a run can stop and go on exactly."""

Loss = Callable[[nn.Module, Batch], Tensor]
"""A differentiable scalar: the mean over the batch."""


@dataclass
class Task:
    """One unlearning problem.

    `loss` is what the network was trained with; descending `unlearn` on forget batches forgets (for ascent it is the
    negated training loss). `weights` are the editable weights by name: the parameters of `network` in scope, the only
    ones with requires_grad. `texts` of a diffusion task are the embeddings of its prompts (n, tokens, width): `forget`, row by
    row what takes its place (`anchor`), `retain`, and `empty`.

    `retain_data` are the retain batches with the targets of the data, where those of `retain` are something else. `probe` is
    the same network with batches that are held out: no step ever sees them.
    """

    network: nn.Module
    forget: Batches
    retain: Batches
    loss: Loss
    unlearn: Loss
    weights: dict[str, nn.Parameter]
    seed: int = 0
    average: Callable[[Sequence[Tensor]], None] = lambda tensors: None
    micro_batch: int | None = None
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    texts: Mapping[str, Tensor] = field(default_factory=dict)
    retain_data: Batches | None = None
    probe: Task | None = None


@dataclass(frozen=True)
class Step:
    """One repair step: losses before the update, how the two gradients met, and what it took.

    `cosine` is that of <g_r, g_u>; `coefficient` is c in g = g_r + c g_u; `projected` says whether c exceeds lambda.
    `micro_batch` is how many examples went through the network at once.
    `snapshot` gives the complete state after the step (weights and optimizer), to be handed back as `resume`. `held_out` is
    what a guard saw and did after the step, empty where none looked.
    """

    step: int
    retain_loss: float
    unlearn_loss: float
    cosine: float
    coefficient: float
    projected: bool
    seconds: float
    micro_batch: int = 0
    snapshot: Callable[[], dict[str, Tensor]] = field(repr=False, compare=False, default=dict)
    held_out: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def plain(
        cls, number: int, retain_loss: float, unlearn_loss: float, seconds: float, *, snapshot: Callable[[], dict[str, Tensor]] = dict
    ) -> Step:
        """The step of a method that compares no two gradients: cosine 0, coefficient 1, not projected."""
        return cls(number, retain_loss, unlearn_loss, 0.0, 1.0, False, seconds, snapshot=snapshot)

    def record(self) -> dict[str, Any]:
        """The line of stats.jsonl."""
        return {name: value for name, value in vars(self).items() if name not in ("snapshot", "held_out")} | dict(self.held_out)


class Method(Protocol):
    """A frozen dataclass of hyperparameters; calling it changes the task's network in place, a Step at a time."""

    def __call__(self, task: Task, resume: Mapping[str, Tensor] | None = None) -> Iterator[Step]: ...


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by anything printable, e.g. (seed, "noise", 7); the same on every machine."""
    import hashlib

    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
