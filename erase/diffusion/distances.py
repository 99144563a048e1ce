"""How far a prediction is from the one that it shall become: what the unlearning loss of anchor methods measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["squared", "hinge", "hellinger"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Distance:
    """The mean over images of a distance between predictions (n, c, h, w). Every sum over an image's values is their mean instead.

    squared: |v - a|^2. hinge (GEM): max(0, |v - a| - margin |v - b|), zero where v is nearer to the target a than to the prediction b
    before anything was changed, by that factor. hellinger: (8 / sharpness) (1 - exp(-sharpness |v - a|^2 / 8)), the squared Hellinger
    distance of two Gaussians around v and a, which has the gradient of the squared distance where both are near, and none far away.
    """

    kind: Kind = "squared"
    margin: float = 1.0
    sharpness: float = 1.0

    def __call__(self, prediction: Tensor, target: Tensor, before: Tensor | None = None) -> Tensor:
        if self.kind == "squared":
            return F.mse_loss(prediction, target)
        square = _squares(prediction, target)
        if self.kind == "hellinger":
            return (8 / self.sharpness) * -torch.expm1(-self.sharpness * square / 8).mean()
        assert before is not None  # the task has it where the kind is hinge
        return (_root(square) - self.margin * _root(_squares(prediction, before))).clamp(min=0).mean()


SQUARED = Distance()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(dim=1)


def _root(square: Tensor) -> Tensor:
    """The root, with gradient 0 at 0: at first the prediction is the one before."""
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
