"""SPEED (arXiv 2503.07392): a closed-form edit of one matrix that acts only where the text to preserve has next to nothing.

The edit is the minimiser of  a sum_i ||(W + D) c_i - W c*_i||^2 + s ||D||^2  among those with D = D P and D K = 0: P projects onto the
directions in which the preserved text has little, and K is what every prompt has, the first token and the middles of an empty prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from erase.task import generator

CENTRES = 3
"""Cluster centres of the empty prompt's tokens that no edit moves, beside its first token."""


@dataclass(frozen=True)
class NullSpace:
    """The text behind an edit, in float64: tokens (n, width), and the numbers of the method.

    `concept` and `target` are tokens of the forget prompts that differ from those that replace them, of so many `prompts`; `retain` are
    tokens to preserve, `fixed` (k, width) those that must not move at all.
    """

    concept: Tensor
    target: Tensor
    prompts: int
    retain: Tensor
    fixed: Tensor
    forget_weight: float
    ridge: float
    threshold: float
    copies: int
    seed: int = 0

    @classmethod
    def of_texts(cls, texts: Mapping[str, Tensor], target: Tensor, **numbers: float) -> NullSpace:
        """From embeddings (n, tokens, width) of prompts and what replaces the forget prompts; the first token is in every prompt."""
        forget, retain, empty = texts["forget"], texts["retain"], texts["empty"][0]
        differs = (forget != target).any(dim=-1)
        fixed = torch.cat([empty[:1], centres(empty[1:], min(CENTRES, len(empty) - 1))])
        return cls(forget[differs], target[differs], len(forget), retain[:, 1:].flatten(0, 1), fixed, **numbers)  # type: ignore[arg-type]

    def edited(self, name: str, weight: Tensor) -> Tensor:
        """W + D for one matrix W (outputs, width); `name` seeds the noise of its augmented tokens."""
        width = weight.shape[1]
        eye = torch.eye(width, dtype=weight.dtype)
        a = self.forget_weight / self.prompts * self.concept.T @ self.concept
        b = self.forget_weight / self.prompts * self.target.T @ self.concept
        plain = weight @ (b - a) @ torch.linalg.inv(a + eye)
        p = projector(self.kept(weight, plain, generator(self.seed, "null space", name)), self.threshold)
        m = torch.linalg.inv(a @ p + self.ridge * eye)
        k = self.fixed.T
        inner = torch.linalg.pinv(k.T @ p @ m @ k, rtol=1e-10)  # singular where a fixed token has nothing in the null space
        edited: Tensor = weight + weight @ (b - a) @ p @ (eye - m @ k @ inner @ k.T @ p) @ m
        return edited

    def kept(self, weight: Tensor, plain: Tensor, source: torch.Generator) -> Tensor:
        """The tokens to preserve that the plain edit moves most, and noisy copies of them in the direction to which W is most blind."""
        rows = moved_most(self.retain, plain)
        if not self.copies:
            return rows
        blind = torch.linalg.svd(weight, full_matrices=True).Vh[-1]
        noise = torch.randn(self.copies, *rows.shape, dtype=rows.dtype, generator=source) @ blind[:, None] * blind
        return torch.cat([rows, moved_most((rows + noise).flatten(0, 1), plain)])


def moved_most(tokens: Tensor, edit: Tensor) -> Tensor:
    """The tokens (n, width) that an edit moves by more than the mean; all where it moves all alike."""
    distance = (tokens @ edit.T).norm(dim=1)
    above = distance > distance.mean()
    return tokens[above] if above.any() else tokens


def projector(tokens: Tensor, threshold: float) -> Tensor:
    """The projector onto the directions in which the mean square of the tokens (n, width) is under a threshold."""
    values, vectors = torch.linalg.eigh(tokens.T @ tokens / len(tokens))
    null = vectors[:, values < threshold]
    projection: Tensor = null @ null.T
    return projection


def centres(points: Tensor, k: int, rounds: int = 20) -> Tensor:
    """k-means of points (n, width): k centres, from starts that are each the farthest from those before."""
    chosen = points[:1]
    while len(chosen) < k:
        chosen = torch.cat([chosen, points[torch.cdist(points, chosen).min(dim=1).values.argmax()][None]])
    for _ in range(rounds):
        nearest = torch.cdist(points, chosen).argmin(dim=1)
        chosen = torch.stack([points[nearest == i].mean(dim=0) if (nearest == i).any() else chosen[i] for i in range(k)])
    return chosen
