"""The matrix of a change as the product of two narrow ones: truncated singular value decomposition, in float32.

    D ≈ up @ down,   up = U_r √S_r (rows × r),   down = √S_r V_rᵀ (r × columns)

The singular values are split evenly, so that both factors stay within the range of half precision; nothing is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""up (rows, r) and down (r, columns)."""


class Factors(NamedTuple):
    """up (rows, r) and down (r, columns) on the CPU; the squared Frobenius norm of the matrix, and how much of it the product has."""

    up: Tensor
    down: Tensor
    energy: float
    kept: float


def factorise(matrix: Tensor, rank: int) -> Factors:
    """The best approximation of a matrix by one of this rank, or of as many as it has rows or columns."""
    left, values, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    root = values[:rank].sqrt()
    energies = values.double().square()
    return Factors((left[:, :rank] * root).cpu(), (root[:, None] * right[:rank]).cpu(), float(energies.sum()), float(energies[:rank].sum()))


def rank_for(matrix: Tensor, keep: float) -> int:
    """The smallest rank whose approximation has at least `keep` per cent of the matrix's Frobenius norm; 0 for a matrix of zeros."""
    energies = torch.linalg.svdvals(matrix.float()).double().square().cumsum(0).cpu()
    if not energies.numel() or energies[-1] == 0:
        return 0
    share = (energies / energies[-1]).sqrt() * 100
    enough = (share >= keep * (1 - 1e-12)).nonzero()
    return int(enough[0]) + 1 if len(enough) else len(energies)


def padded(pair: Pair, rank: int) -> Pair:
    """The same product with factors of a higher rank: further columns and rows of zeros."""
    up, down = pair
    missing = rank - up.shape[1]
    return (torch.nn.functional.pad(up, (0, missing)), torch.nn.functional.pad(down, (0, 0, 0, missing))) if missing > 0 else pair


def scaled(pair: Pair, factor: float) -> Pair:
    """The factors of the product times a positive number, which is split evenly."""
    root = math.sqrt(factor)
    return (pair[0] * root, pair[1] * root) if factor != 1 else pair


def stacked_pairs(pairs: Sequence[Pair | None], heights: Sequence[int]) -> Pair:
    """Factors of matrices one below the other, exactly: up is block-diagonal, down is stacked. None: zeros of this height."""
    present = [pair for pair in pairs if pair is not None]
    up = present[0][0].new_zeros(sum(heights), sum(pair[0].shape[1] for pair in present))
    row = column = 0
    for pair, height in zip(pairs, heights, strict=True):
        if pair is not None:
            rank = pair[0].shape[1]
            up[row : row + height, column : column + rank] = pair[0]
            column += rank
        row += height
    return up, torch.cat([pair[1] for pair in present])
