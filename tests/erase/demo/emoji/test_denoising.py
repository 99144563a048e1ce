"""The noise levels of the emoji model's training."""

from __future__ import annotations

import torch

from erase.demo.emoji.denoising import noise_levels


def test_a_quarter_of_the_levels_is_below_400_and_every_part_has_one() -> None:
    t = noise_levels(48, torch.Generator().manual_seed(0))
    assert t.dtype == torch.long
    assert (t < 400).sum() == 12
    low, high = t[:12].double() / 400 * 12, (t[12:].double() - 400) / 600 * 36
    for part in (low, high):  # whole timesteps: at most one of the range below the exact place
        assert ((part - torch.arange(len(part))).abs() <= 1.1).all()
    assert int(t.min()) >= 0
    assert int(t.max()) <= 999


def test_levels_depend_on_the_generator_alone() -> None:
    first, again, other = (noise_levels(8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
