"""The numbers of one training step, and the check that they are finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erase.errors import Diverged
from erase.project import Projected
from erase.task import Step

_LABELS = ("retain loss", "unlearn loss", "product of the gradients", "retain gradient", "unlearn gradient", "coefficient")


class StepNumbers(NamedTuple):
    """Losses before the update, and how the two gradients relate."""

    retain_loss: float
    unlearn_loss: float
    dot: float
    """<g_r, g_u>"""
    norm_r: float
    norm_u: float
    coefficient: float
    """c in g = g_r + c g_u"""

    @classmethod
    def read(cls, step: int, retain_loss: Tensor, unlearn_loss: Tensor, projected: Projected) -> StepNumbers:
        """The numbers in one copy to the host; Diverged, with the name of the first that is not finite."""
        tensors = (retain_loss, unlearn_loss, projected.dot, projected.norm_r, projected.norm_u, projected.coefficient)
        numbers = cls(*torch.stack([x.to(projected.dot) for x in tensors]).tolist())
        for label, number in zip(_LABELS, numbers, strict=True):
            if not math.isfinite(number):
                raise Diverged(step, f"the {label}")
        return numbers

    @property
    def cosine(self) -> float:
        """Of the angle between g_r and g_u, 0 where one of them is zero."""
        lengths = self.norm_r * self.norm_u
        return self.dot / lengths if lengths else 0.0

    def step(
        self,
        number: int,
        seconds: float,
        micro_batch: int,
        snapshot: Callable[[], dict[str, Tensor]],
        *,
        projected: bool = False,
        held_out: Mapping[str, Any] = MappingProxyType({}),
    ) -> Step:
        """The Step with these numbers."""
        return Step(
            step=number,
            retain_loss=self.retain_loss,
            unlearn_loss=self.unlearn_loss,
            cosine=self.cosine,
            coefficient=self.coefficient,
            projected=projected,
            seconds=seconds,
            micro_batch=micro_batch,
            snapshot=snapshot,
            held_out=held_out,
        )
