"""The text encoder's first course: what a sketch is, and where it counts."""

from __future__ import annotations

import pytest
import torch

from erase.demo.emoji import reading
from erase.demo.emoji.world import BACKGROUNDS, OBJECTS, STYLES


def test_a_sketch_keeps_the_distances_of_pictures() -> None:
    """All components of a few pictures are a rotation of them, scaled to variance one."""
    latents = torch.randn(9, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    sketches = reading.sketches(latents)
    assert sketches.shape == (9, reading.SKETCH)
    assert not sketches[:, 9:].any()
    wanted, found = torch.cdist(latents.flatten(1), latents.flatten(1)), torch.cdist(sketches, sketches)
    rows, columns = torch.triu_indices(9, 9, 1)
    ratio = found[rows, columns] / wanted[rows, columns]
    assert ratio.std() / ratio.mean() < 1e-5


def test_the_sketch_counts_only_where_object_and_style_are_told() -> None:
    labels = {
        "object": torch.tensor([0, 1, reading.SILENT]),
        "style": torch.tensor([0, reading.SILENT, 1]),
        "background": torch.zeros(3).long(),
    }
    read = {domain: torch.zeros(3, len(members)) for domain, members in zip(labels, (OBJECTS, STYLES, BACKGROUNDS), strict=True)}
    looks = {(0, 0): torch.ones(reading.SKETCH)}
    guesses = [
        torch.ones(3, reading.SKETCH),
        torch.tensor([[1.0], [9.0], [9.0]]).expand(-1, reading.SKETCH),
        torch.zeros(3, reading.SKETCH),
    ]
    right, elsewhere, wrong = (reading.reading_loss(read, guess, labels, looks).item() for guess in guesses)
    assert elsewhere == pytest.approx(right)
    assert wrong - right == pytest.approx(reading.SKETCH_WEIGHT)
