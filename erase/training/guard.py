"""The guard: looks at held-out batches while repair works, goes back when keeping suffers, and says when it is enough.

Knows losses and numbers; how the network is put back it is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from erase.errors import Diverged, InputError
from erase.task import Batch, Loss, Task
from erase.training.micro_batches import count, pieces
from erase.training.modes import evaluated
from erase.training.state import TrainingState

EVERY = 5
"""Steps between two looks."""

BATCHES = 2
"""Held-out batches of each set that a look takes: the same at every look, noise included, so that looks can be compared."""

STRIKES = 3
"""How often it goes back before it stops."""

SETTLED = 0.01
"""Keeping no longer gains when the retain loss has fallen by less than this share since the last look."""

Look = Callable[[int], tuple[float, float]]
"""Micro-batch, 0 for whole batches -> held-out retain loss and unlearning loss of the network as it is."""


@dataclass
class Guard:
    """Repair as a constrained problem: the lowest held-out U among the states in which keeping has not suffered.

    With the held-out retain loss L, its value L_0 before anything was changed and the lowest since, the limit is

        (1 + bound) · max(L_0, lowest):

    trimming may go over it, and then repair brings L down; but what has been regained is not to be lost again. Over the limit,
    repair goes back to the best state so far (the lowest U within the limit) with half the learning rate, and stops at the
    third time, in the best state. `gone` is the share of its start U_0 under which the concept counts as gone; then repair stops
    as soon as keeping is within the limit and gains no more. For ascent, where U is negative, it is U_0 / gone.
    """

    look: Look
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
        """Look at the network before anything is changed."""
        self.retain_start, self.unlearn_start = self.look(micro)

    def after(self, state: TrainingState, last_step: int) -> dict[str, float | str]:
        """Evaluate every few steps and at the last, act, and return the losses and what was done, for the record of the step."""
        if state.step % EVERY and state.step != last_step:
            return {}
        retain, unlearn = self.look(state.micro_batch)
        record: dict[str, float | str] = {"held_out_retain_loss": retain, "held_out_unlearn_loss": unlearn}
        limit = math.inf if self.bound is None else (1 + self.bound) * max(self.retain_start, min(self.lowest, retain))
        settled = retain > (1 - SETTLED) * self.last
        if not retain <= limit:  # nor is a NaN
            record["guard"] = self._back(retain, limit, state)
            return record
        self.lowest, self.last = min(self.lowest, retain), retain
        if self.bound is not None and (unlearn < self.best_unlearn or self.best_retain > limit):
            self.best_unlearn, self.best_retain, self.best = unlearn, retain, state.state_dict()
        if self.gone is not None and unlearn <= self._enough() and settled and self._kept(retain):
            self.stopped = True
            record["guard"] = f"the concept is gone: held-out unlearning loss {unlearn:.4g}, at first {self.unlearn_start:.4g}; stopped"
        return record

    def _kept(self, retain: float) -> bool:
        return self.bound is None or retain <= (1 + self.bound) * self.retain_start

    def _enough(self) -> float:
        assert self.gone is not None
        return self.unlearn_start * self.gone if self.unlearn_start > 0 else self.unlearn_start / self.gone

    def _back(self, retain: float, limit: float, state: TrainingState) -> str:
        if not self.best:  # the first retain loss is within its own limit, unless it is not finite
            raise Diverged(state.step, "the held-out retain loss")
        self.strikes += 1
        self.rate /= 2
        self.stopped = self.strikes >= STRIKES
        state.roll_back(self.best)
        self.last = self.best_retain
        then = "stopped" if self.stopped else f"learning rate x {self.rate:g}"
        return f"held-out retain loss {retain:.4g} over its limit {limit:.4g}: back to step {int(self.best['step'])}, {then}"

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs, for a snapshot."""
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


def held_out(probe: Task, unlearn: Loss) -> Look:
    """A look at the probe's own batches, its retain loss being the training loss on them, averaged over processes."""

    def look(micro: int) -> tuple[float, float]:
        retain = [(probe.retain_data or probe.retain)(i) for i in range(BATCHES)]
        forget = [probe.forget(i) for i in range(BATCHES)]
        with torch.no_grad(), evaluated(probe.network):
            means = [_mean(probe, probe.loss, retain, micro), _mean(probe, unlearn, forget, micro)]
        probe.average(means)
        first, second = torch.stack(means).tolist()
        return first, second

    return look


def _mean(probe: Task, loss: Loss, batches: list[Batch], micro: int) -> Tensor:
    shares = [(share, piece) for batch in batches for share, piece in pieces(batch, micro or count(batch))]
    return torch.stack([loss(probe.network, piece).detach() * share for share, piece in shares]).sum() / len(batches)
