"""Early stopping and rollback: evaluates held-out batches every few steps, restores the best state if the retain loss exceeds its limit,
and stops once the concept is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from erase.errors import Diverged, InputError
from erase.task import B, Loss, Task
from erase.training.micro_batches import count, pieces
from erase.training.modes import evaluated
from erase.training.state import TrainingState

EVERY = 5
"""Steps between two evaluations."""

BATCHES = 2
"""Held-out batches of each set in an evaluation: always the same, noise included, so that evaluations can be compared."""

STRIKES = 3
"""Number of rollbacks after which it stops."""

SETTLED = 0.01
"""The retain loss no longer improves once it has fallen by less than this share since the last evaluation."""

Evaluate = Callable[[int], tuple[float, float]]
"""Micro-batch size, 0 for whole batches -> held-out retain loss and unlearning loss of the network as it is now."""


@dataclass
class Guard:
    """Repair as a constrained problem: the lowest held-out U among the states whose retain loss is within its limit.

    With the held-out retain loss L, its value L_0 before the network was changed, and its lowest value since, the limit is

        (1 + bound) · max(L_0, lowest).

    Trimming may exceed it, and repair then lowers L; but quality that has been regained must not be lost again. Over the limit,
    the best state so far (the lowest U within the limit) is restored and the learning rate halved; at the third time repair
    stops, in the best state. The concept counts as forgotten once U is at most `gone` times its initial value U_0 (for ascent, where U
    is negative, U_0 / gone); repair then stops as soon as the retain loss is within the limit and no longer improves.
    """

    evaluate: Evaluate
    bound: float | None = None
    gone: float | None = None
    rate: float = 1.0
    stopped: bool = False
    retain_start: float = math.nan
    unlearn_start: float = math.nan
    lowest: float = math.inf
    last: float = math.inf
    best_unlearn: float = math.inf
    best_retain: float = math.inf
    strikes: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    NUMBERS = ("rate", "stopped", "retain_start", "unlearn_start", "lowest", "last", "best_unlearn", "best_retain", "strikes")

    def start(self, micro: int = 0) -> None:
        """Evaluate the network before it is changed. Diverged where a loss is not finite: nothing could be compared with it."""
        self.retain_start, self.unlearn_start = self.evaluate(micro)
        if name := _not_finite(self.retain_start, self.unlearn_start):
            raise Diverged(0, f"the held-out {name}")

    def after(self, state: TrainingState, last_step: int) -> dict[str, float | str]:
        """Evaluate every few steps and at the last, act, and return the losses and what was done, for the record of the step."""
        if state.step % EVERY and state.step != last_step:
            return {}
        retain, unlearn = self.evaluate(state.micro_batch)
        record: dict[str, float | str] = {"held_out_retain_loss": retain, "held_out_unlearn_loss": unlearn}
        limit = math.inf if self.bound is None else (1 + self.bound) * max(self.retain_start, min(self.lowest, retain))
        settled = retain > (1 - SETTLED) * self.last
        broken = _not_finite(retain, unlearn)
        if broken and not self.best:  # without a bound there is never a state to go back to, and none before the first evaluation
            raise Diverged(state.step, f"the held-out {broken}")
        if broken or retain > limit:
            excess = f"{broken} is not finite" if broken else f"retain loss {retain:.4g} over its limit {limit:.4g}"
            record["guard"] = self._roll_back(f"held-out {excess}", state)
            return record
        self.lowest, self.last = min(self.lowest, retain), retain
        if self.bound is not None and (unlearn < self.best_unlearn or self.best_retain > limit):
            self.best_unlearn, self.best_retain, self.best = unlearn, retain, state.state_dict()
        if self.gone is not None and unlearn <= self._target() and settled and self._within_bound(retain):
            self.stopped = True
            record["guard"] = f"the concept is gone: held-out unlearning loss {unlearn:.4g}, at first {self.unlearn_start:.4g}; stopped"
        return record

    def _within_bound(self, retain: float) -> bool:
        return self.bound is None or retain <= (1 + self.bound) * self.retain_start

    def _target(self) -> float:
        assert self.gone is not None
        return self.unlearn_start * self.gone if self.unlearn_start > 0 else self.unlearn_start / self.gone

    def _roll_back(self, reason: str, state: TrainingState) -> str:
        self.strikes += 1
        self.rate /= 2
        self.stopped = self.strikes >= STRIKES
        state.roll_back(self.best)
        self.last = self.best_retain
        then = "stopped" if self.stopped else f"learning rate x {self.rate:g}"
        return f"{reason}: back to step {int(self.best['step'])}, {then}"

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that a resumed run needs, for a snapshot."""
        numbers = torch.tensor([float(getattr(self, name)) for name in self.NUMBERS], dtype=torch.float64)
        return {"guard/numbers": numbers} | {f"guard/best/{name}": value for name, value in self.best.items()}

    def load_state_dict(self, snapshot: Mapping[str, Tensor]) -> None:
        """Resume; InputError where the snapshot is of a run without a guard."""
        if "guard/numbers" not in snapshot:
            raise InputError("the checkpoint to resume from is of a run without --guard or --gone; leave them out, or start from scratch")
        for name, value in zip(self.NUMBERS, snapshot["guard/numbers"].tolist(), strict=True):
            setattr(self, name, type(getattr(self, name))(value))
        prefix = "guard/best/"
        self.best = {name.removeprefix(prefix): value for name, value in snapshot.items() if name.startswith(prefix)}


def _not_finite(retain: float, unlearn: float) -> str:
    """The name of the loss that is not finite, "" where both are."""
    return next((name for name, loss in (("retain loss", retain), ("unlearning loss", unlearn)) if not math.isfinite(loss)), "")


def held_out(probe: Task[B], unlearn: Loss[B]) -> Evaluate:
    """Evaluation on the batches of `probe`, averaged over processes; its retain loss is the training loss."""

    def evaluate(micro: int) -> tuple[float, float]:
        retain = [(probe.retain_data or probe.retain)(i) for i in range(BATCHES)]
        forget = [probe.forget(i) for i in range(BATCHES)]
        with torch.no_grad(), evaluated(probe.network):
            means = [_mean(probe, probe.loss, retain, micro), _mean(probe, unlearn, forget, micro)]
        probe.average(means)
        first, second = torch.stack(means).tolist()
        return first, second

    return evaluate


def _mean(probe: Task[B], loss: Loss[B], batches: list[B], micro: int) -> Tensor:
    shares = [(share, piece) for batch in batches for share, piece in pieces(batch, micro or count(batch))]
    return torch.stack([loss(probe.network, piece).detach() * share for share, piece in shares]).sum() / len(batches)
