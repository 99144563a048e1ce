"""Trimming by connection sensitivity, the first half of Scissorhands, for diffusion models and classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from erase.errors import InputError
from erase.methods.diffusion.layer_selection import candidates, spare
from erase.scope import in_scope, trimmable
from erase.sensitivity import connection_sensitivity, over_batches
from erase.task import B, Entries, Task, generator
from erase.trim import trim


@dataclass(frozen=True)
class Trimming:
    """Which weights are scored, how, and what becomes of the top share. The fields are those options of Scissorhands."""

    scope: str
    trim_scope: str | None
    rank_over: str
    fraction: float
    initialisation: str
    signed: bool
    sensitivity_batches: int
    spare: str = "none"

    def __call__(self, task: Task[B]) -> dict[str, Tensor]:
        """Average the sensitivity over forget batches (Eq. 2), then reinitialise the top share in place.

        Returns weight -> mask of what was trimmed; scores and shares go to `task.layers`. InputError if there is nothing to trim.
        """
        trimmed, scored = self._weights(task)
        scores = over_batches(task, self.sensitivity_batches, connection_sensitivity, task.forget, scored, signed=self.signed)
        fraction, rank = self.fraction, scores
        if self.spare != "none":
            retain = task.retain_data or task.retain
            retained = over_batches(task, self.sensitivity_batches, connection_sensitivity, retain, scored, signed=self.signed)
            rank = spare(scores, retained, self.spare)
            left = candidates(rank)
            if not left:
                raise InputError(
                    "--spare exclude leaves nothing to trim: every weight has a larger retain sensitivity than forget sensitivity; "
                    "give --spare divide, or --no-trimming",
                    option="spare",
                )
            fraction = min(fraction, left / sum(score.numel() for score in rank.values()))
        mask = trim(trimmed, rank, fraction, self.initialisation, generator(task.seed, "trim"), rank_over=rank)
        task.replaced.update({name: Entries.of(task.base[name], chosen) for name, chosen in mask.items() if task.base and chosen.any()})
        for name, score in scores.items():
            share = float(mask[name].float().mean()) if name in mask else 0.0
            task.layers[name] = task.layers.get(name, {}) | {"sensitivity": float(score.mean()), "trimmed": share}
        return mask

    def count(self, task: Task[B]) -> int:
        """The number of weights that would be trimmed."""
        _, scored = self._weights(task)
        return round(self.fraction * sum(weight.numel() for weight in scored.values()))

    def _weights(self, task: Task[B]) -> tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]]:
        """The weights that may be trimmed, and those that are scored and ranked."""
        inside = in_scope(task.network, self.trim_scope or self.scope)
        trimmed = trimmable({name: w for name, w in inside.items() if name in task.scored})
        if not trimmed:
            raise InputError(
                f"--trim-scope {self.trim_scope or self.scope} has no matrices to trim within --scope {self.scope}; "
                "give another, or --no-trimming",
                option="trim_scope",
            )
        return trimmed, trimmable(task.scored) if self.rank_over == "scope" else trimmed
