"""The state of a training loop: weights, buffers, optimizer, step and micro-batch size, saved to and loaded from flat tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from erase.errors import InputError
from erase.task import Batch, Entries, SplittableBatch, Task
from erase.training.micro_batches import count, fitting

T = TypeVar("T")

REPLACED = "replaced/"
"""Prefix of entries of weights that are trained through factors."""

MOMENTUM = "momentum/"
"""Prefix under which checkpoints of classifier methods once stored SGD's momentum; now it is part of `state/`."""


class TrainingState:
    """Everything a training loop changes.

    A state dict holds tensors on the CPU, ready for a safetensors file: `weight/NAME`, `buffer/NAME`, `state/NAME/KEY` for the optimizer's
    state of a weight, `step` and `micro_batch`; where weights are trained through low-rank factors, also the entries of the weights
    themselves that trimming has replaced, `replaced/NAME/places` and `/values`. Training from a loaded state continues bit for bit.
    """

    def __init__(
        self, network: nn.Module, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None, micro_batch: int = 0
    ) -> None:
        self.network = network
        self.weights = weights
        self.optimizer = optimizer
        self.step = 0
        self.micro_batch = micro_batch
        """Examples that go through the network at once; 0 while whole batches fit."""
        self.base: Mapping[str, Tensor] = {}
        self.replaced: dict[str, Entries] = {}

    @classmethod
    def of(cls, task: Task[Any], optimizer: torch.optim.Optimizer) -> TrainingState:
        """The state of a loop that trains the weights of a task."""
        state = cls(task.network, task.weights, optimizer, task.micro_batch or 0)
        state.base, state.replaced = task.base, task.replaced
        return state

    def state_dict(self) -> dict[str, Tensor]:
        """Copies on the CPU of the state as it is now."""
        tensors: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"buffer/{name}": buffer for name, buffer in self.network.named_buffers()}
        if self.optimizer is not None:
            saved, names = self.optimizer.state_dict()["state"], self._names()
            for index, values in saved.items():
                tensors |= {f"state/{names[index]}/{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        for name, entries in self.replaced.items():
            tensors |= {f"{REPLACED}{name}/{part}": tensor for part, tensor in entries._asdict().items()}
        numbers = {"step": torch.tensor(self.step), "micro_batch": torch.tensor(self.micro_batch)}
        return numbers | {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state dict; InputError where it is of another network, method or scope."""
        self.roll_back(state)
        self.step = int(state["step"])
        self.micro_batch = int(state.get("micro_batch", 0)) or self.micro_batch

    @torch.no_grad()
    def roll_back(self, state: Mapping[str, Tensor]) -> None:
        """Load weights, buffers and optimizer state, but keep the step and the micro-batch size: training counts on from here."""
        for kind, tensors in (("weight", self.weights), ("buffer", dict(self.network.named_buffers()))):
            for name, tensor in tensors.items():
                if (value := state.get(f"{kind}/{name}")) is None or value.shape != tensor.shape:
                    raise InputError(
                        f"the checkpoint to resume from does not fit {kind} {name!r}: it is from another network, method or scope"
                    )
                tensor.copy_(value)
        for name in (key.removeprefix(REPLACED).removesuffix("/places") for key in state if key.startswith(REPLACED)):
            if name.endswith("/values"):
                continue
            if name not in self.base:
                raise InputError(f"the checkpoint to resume from does not fit: it has replaced entries of {name!r}, which has no factors")
            self.replaced[name] = Entries(state[f"{REPLACED}{name}/places"], state[f"{REPLACED}{name}/values"])
            self.replaced[name].write_into(self.base[name])
        if self.optimizer is not None:
            # torch puts each tensor where its group needs it: the step of a fused Adam on the weight's device, that of others on the CPU.
            saved = {index: values for index, name in self._names().items() if (values := self._saved(state, name))}
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": saved})

    def _names(self) -> dict[int, str]:
        """Index of a weight in the optimizer's own state dict -> its name."""
        assert self.optimizer is not None
        names = {id(weight): name for name, weight in self.weights.items()}
        members = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return {index: names[id(weight)] for index, weight in enumerate(members)}

    def _saved(self, state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
        """The optimizer's state of one weight in a state dict."""
        prefix, device = f"state/{name}/", self.weights[name].device
        values = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if (momentum := state.get(MOMENTUM + name)) is not None:
            values["momentum_buffer"] = momentum
        # torch keeps a tensor that is on the right device as it is, and the optimizer would then change the caller's.
        return {key: value.clone() if key == "step" or value.device == device else value for key, value in values.items()}

    def fit(
        self, passes: Callable[[int], T], batches: Sequence[Batch | SplittableBatch], average: Callable[[Sequence[Tensor]], None]
    ) -> tuple[T, int]:
        """passes(micro_batch) and the micro-batch size that fitted into memory, which later steps keep."""
        size = self.micro_batch or max(count(batch) for batch in batches)
        device = next(iter(self.weights.values())).device
        result, fitted = fitting(passes, size, average, str(device))
        if fitted < size:  # batches may differ in size, so only a limit that was hit is one
            self.micro_batch = fitted
        return result, fitted


@contextmanager
def buffers_restored_on_error(network: nn.Module) -> Iterator[Callable[[], None]]:
    """Yield a function that resets the network's buffers to what they are now; an error within resets them too.

    Batch norms in training mode update their buffers in the forward pass, also in one that is then repeated or ends in Diverged.
    """
    before = [buffer.clone() for buffer in network.buffers()]

    @torch.no_grad()
    def reset() -> None:
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)

    try:
        yield reset
    except BaseException:
        reset()
        raise
