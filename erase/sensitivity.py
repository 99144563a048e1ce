"""Connection sensitivity: how much the loss on forget batches depends on each weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from erase.errors import Diverged, InputError
from erase.task import B, Batches, Loss, Task
from erase.training.micro_batches import count, fitting, pieces
from erase.training.modes import evaluated

T = TypeVar("T")
Average = Callable[[Sequence[Tensor]], None]


def connection_sensitivity(
    network: nn.Module,
    batches: Iterable[B],
    loss: Loss[B],
    weights: Mapping[str, nn.Parameter],
    signed: bool = True,
    micro_batch: int | None = None,
    average: Average = lambda tensors: None,
) -> dict[str, Tensor]:
    """s_j = |E[dL/dw_j] w_j| over batches (Eq. 2); with signed=False E[|dL/dw_j|] |w_j|, as in the released code.

    Scores are float32, in the shape of each weight, on its device; batches have equal weight, whatever their size. The
    network runs in eval mode, so that dropout adds no noise and batch norms keep their statistics; its modes and
    gradients are restored afterwards. Beyond the scores the sweep needs memory for one gradient tensor at a time, or with
    signed=False for one gradient of all weights.

    `micro_batch` examples go through the network at once, all by default. Where several processes have a part of every batch,
    `average` averages tensors in place over them.

    InputError without batches; Diverged, with the number of the batch (from 1), when a loss or a score is not finite.
    """
    scores, number = _swept(network, batches, loss, weights, signed, micro_batch, average)
    for name, score in scores.items():
        score.mul_(weights[name].detach()).abs_()
        if score.numel() and not torch.isfinite(score.amax()):
            raise Diverged(number, f"the sensitivity of {name}")
    return scores


def mean_gradients(
    network: nn.Module,
    batches: Iterable[B],
    loss: Loss[B],
    weights: Mapping[str, nn.Parameter],
    micro_batch: int | None = None,
    average: Average = lambda tensors: None,
) -> dict[str, Tensor]:
    """E[dL/dw] over batches, computed as in `connection_sensitivity`."""
    return _swept(network, batches, loss, weights, True, micro_batch, average)[0]


def over_batches(
    task: Task[B], number: int, sweep: Callable[..., T], batches: Batches[B], scored: Mapping[str, Tensor], **options: Any
) -> T:
    """The result of one of these sweeps over the first `number` batches, with as many examples at once as fit into memory.

    Where fewer fit than a batch has, `task.micro_batch` is lowered, so that later sweeps and repair start from there.
    """

    def fit_in(size: int) -> T:
        most = task.micro_batch if size == whole else size  # batches may differ in size
        numbered = (batches(i) for i in range(number))
        return sweep(task.network, numbered, task.loss, scored, micro_batch=most, average=task.average, **options)

    whole = task.micro_batch or count(batches(0))
    result, fit = fitting(fit_in, whole, task.average, str(next(iter(scored.values())).device))
    task.micro_batch = fit if fit < whole else task.micro_batch
    return result


def _swept(
    network: nn.Module,
    batches: Iterable[B],
    loss: Loss[B],
    weights: Mapping[str, nn.Parameter],
    signed: bool,
    micro_batch: int | None,
    average: Average,
) -> tuple[dict[str, Tensor], int]:
    """E[g], or E|g| when not signed, in float32; and the number of batches."""
    sums = {name: torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) for name, weight in weights.items()}
    number = 0
    with evaluated(network), _gradients_into(sums, weights, signed):
        for number, batch in enumerate(batches, start=1):
            for share, piece in pieces(batch, micro_batch or count(batch)):
                value = loss(network, piece) * share if share < 1 else loss(network, piece)
                if not torch.isfinite(value):
                    raise Diverged(number, "the loss in the sensitivity sweep")
                value.backward(inputs=list(weights.values()))  # type: ignore[no-untyped-call]
            if not signed:
                _add_magnitudes(sums, weights, average)
    if not number:
        raise InputError("connection sensitivity needs at least one forget batch and got none")
    if signed:
        average(list(sums.values()))
    for total in sums.values():
        total.div_(number)
    return sums, number


def _add_magnitudes(sums: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter], average: Average) -> None:
    """Add |g| of a whole batch: the absolute value can only be taken once all of its micro-batches are summed."""
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    average(list(gradients.values()))
    for name, gradient in gradients.items():
        sums[name].add_(gradient.abs())
        weights[name].grad = None


@contextmanager
def _gradients_into(sums: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter], signed: bool) -> Iterator[None]:
    """Within, scored weights require gradients; if signed, each gradient is added to its sum as soon as it is computed, then freed."""
    before = [(weight, weight.requires_grad, weight.grad) for weight in weights.values()]
    handles = []
    try:
        for name, weight in weights.items():
            weight.grad = None
            # Ranking may include weights outside the scope.
            weight.requires_grad_(True)

            def fold(weight: Tensor, total: Tensor = sums[name]) -> None:
                assert weight.grad is not None
                total.add_(weight.grad)
                weight.grad = None

            if signed:
                handles.append(weight.register_post_accumulate_grad_hook(fold))
        with torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for weight, needed, gradient in before:
            weight.requires_grad_(needed)
            weight.grad = gradient
