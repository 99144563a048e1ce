"""Factors: the best of their rank, exact where the change has that rank, evenly split, and joined without loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from erase.checkpoints.lora.difference import exact_difference
from erase.checkpoints.lora.factors import factorise, padded, rank_for, scaled, stacked_pairs


def matrix(*singular: float) -> Tensor:
    """A 6 x 8 matrix with these singular values."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator))[0] for n in (6, 8))
    values = torch.zeros(6, 8)
    values[range(len(singular)), range(len(singular))] = torch.tensor(singular)
    return left @ values @ right


def test_factors_of_a_matrix_with_known_singular_values() -> None:
    change = matrix(4.0, 3.0, 2.0, 1.0)
    up, down, energy, kept = factorise(change, 2)
    assert (energy, kept) == (pytest.approx(30.0, rel=1e-5), pytest.approx(25.0, rel=1e-5))
    assert torch.linalg.svdvals(up @ down)[:3].tolist() == pytest.approx([4.0, 3.0, 0.0], abs=1e-5)
    assert (up.norm(dim=0) - down.norm(dim=1)).abs().max() < 1e-5  # split evenly
    assert float((change - up @ down).square().sum()) == pytest.approx(5.0, rel=1e-4)
    full = factorise(change, 6)
    assert torch.allclose(full.up @ full.down, change, atol=1e-5)


@pytest.mark.parametrize(("keep", "rank"), [(50, 1), (74, 2), (92, 3), (98.4, 4), (100, 4)])
def test_the_smallest_rank_that_keeps_a_share_of_the_norm(keep: float, rank: int) -> None:
    # 4, 3, 2, 1: 73.0, 91.3, 98.3 and 100 per cent of the norm
    assert rank_for(matrix(4.0, 3.0, 2.0, 1.0), keep) == rank
    assert rank_for(torch.zeros(3, 4), keep) == 0


def test_padding_scaling_and_stacking_keep_the_product() -> None:
    first, second = factorise(matrix(4.0, 3.0), 2), factorise(matrix(1.0), 1)
    up, down = padded(first[:2], 5)
    assert up.shape == (6, 5)
    assert torch.allclose(up @ down, first.up @ first.down, atol=1e-6)
    up, down = scaled(first[:2], 0.25)
    assert torch.allclose(4 * up @ down, first.up @ first.down, atol=1e-6)
    up, down = stacked_pairs([first[:2], None, second[:2]], [6, 3, 6])
    assert torch.allclose(up @ down, torch.cat([first.up @ first.down, torch.zeros(3, 8), second.up @ second.down]), atol=1e-6)
    assert down.shape == (3, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_difference_gives_the_weights_back_to_the_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(400, 50, generator=generator).to(dtype)
    near = (before.float() * (1 + 0.05 * torch.randn(400, 50, generator=generator))).to(dtype)
    far = torch.where(torch.rand(400, 50, generator=generator) < 0.1, torch.randn(400, 50, generator=generator), near.float()).to(dtype)
    for after in (near, far):
        difference, wrong = exact_difference(before, after)
        assert int(((before.float() + difference).to(dtype) != after).sum()) == wrong
        assert wrong == 0 or (dtype == torch.float32 and after is far)
        error = (before.float() + difference - after.float()).abs()
        assert (error <= 2**-23 * torch.maximum(before.float().abs(), after.float().abs())).all()


def test_entries_that_no_difference_reproduces_are_counted() -> None:
    difference, wrong = exact_difference(torch.tensor([1000.0, 1.0]), torch.tensor([1e-9, 2.0]))
    assert wrong == 1
    assert (torch.tensor([1000.0, 1.0]) + difference).tolist() == [0.0, 2.0]
