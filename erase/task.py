"""What a method receives: a network, numbered forget and retain batches, two losses, and the weights it may change.

`erase.diffusion` and `erase.classifiers.task` build Tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Named tensors with a common first dimension; its random parts (noise, timesteps) are already drawn."""


class SplittableBatch(Protocol):
    """A batch that is not a mapping: `erase.diffusion.batches.DiffusionBatch`."""

    def __len__(self) -> int:
        """Number of examples."""

    def split(self, size: int) -> Iterator[Self]:
        """Consecutive parts of at most `size` examples."""


if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar

    B = TypeVar("B", bound=Batch | SplittableBatch, default=Batch)
else:
    from typing import TypeVar

    B = TypeVar("B")

Batches = Callable[[int], B]
"""Batch number -> batch. The same number gives the same batch on every call, so that a run can be resumed exactly."""

Loss = Callable[[nn.Module, B], Tensor]
"""A differentiable scalar: the mean over the batch."""


class Entries(NamedTuple):
    """Some entries of a weight: their flat places (n,) int64 and their values (n,), on the CPU."""

    places: Tensor
    values: Tensor

    @classmethod
    def of(cls, weight: Tensor, mask: Tensor) -> Entries:
        """The entries of a weight where `mask` is True."""
        places = mask.reshape(-1).nonzero()[:, 0]
        return cls(places.cpu(), weight.detach().reshape(-1)[places].cpu())

    def write_into(self, weight: Tensor) -> None:
        """Give the entries of a weight these values, in place."""
        with torch.no_grad():
            weight.view(-1)[self.places.to(weight.device)] = self.values.to(weight)


@dataclass
class Task(Generic[B]):
    """One unlearning problem, with batches of type B: a mapping unless another type is named.

    `loss` is what the network was trained with; descending `unlearn` on forget batches forgets (for ascent it is the
    negated training loss). `weights` are the editable weights by name: the parameters of `network` in scope, the only
    ones with requires_grad. `texts` of a diffusion task are the embeddings of its prompts (n, tokens, width): `forget`, row by
    row what takes its place (`anchor`), `retain`, and `empty`.

    `average` averages tensors in place over the processes of a run, each of which has a part of every batch. `micro_batch` is the
    number of examples that go through the network at once, None for whole batches. Methods record numbers per layer in `layers`.
    `retain_data` are the retain batches with the targets of the data, where `retain` has other targets. `probe` is
    the same network with held-out batches, which no step uses. `one_image` of a diffusion task is a batch of one retain image, by its
    number, under as many timesteps as are asked for.

    With low-rank factors (`erase.checkpoints.lora.low_rank`), `weights` are the factors, `MODULE.lora_A.weight` and `MODULE.lora_B.weight`,
    and `base` the weights in scope, which stay as they are. A method scores and trims those (`scored`), and names the entries that it
    has given other values in `replaced`, because nothing else of them is saved.
    """

    network: nn.Module
    forget: Batches[B]
    retain: Batches[B]
    loss: Loss[B]
    unlearn: Loss[B]
    weights: dict[str, nn.Parameter]
    seed: int = 0
    average: Callable[[Sequence[Tensor]], None] = lambda tensors: None
    micro_batch: int | None = None
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    texts: Mapping[str, Tensor] = field(default_factory=dict)
    retain_data: Batches[B] | None = None
    one_image: Callable[[int, int], B] | None = None
    probe: Task[B] | None = None
    base: dict[str, nn.Parameter] = field(default_factory=dict)
    replaced: dict[str, Entries] = field(default_factory=dict)

    @property
    def scored(self) -> dict[str, nn.Parameter]:
        """The weights in scope by name, whether they are trained themselves or through factors."""
        return self.base or self.weights


@dataclass(frozen=True)
class Step:
    """One step of a method: losses before the update, how the two gradients relate, and its cost.

    `cosine` is that of the angle between g_r and g_u; `coefficient` is c in g = g_r + c g_u; `projected` is True where c exceeds lambda.
    `micro_batch` is the number of examples that went through the network at once. `snapshot` returns the complete state after
    the step (weights and optimizer), from which a method resumes. `held_out` are the losses and the action of a guard after the step,
    empty where it did not evaluate.
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
        """The step's line in stats.jsonl."""
        return {name: value for name, value in vars(self).items() if name not in ("snapshot", "held_out")} | dict(self.held_out)


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by any printable values, e.g. (seed, "noise", 7); the same on every machine."""
    import hashlib

    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
