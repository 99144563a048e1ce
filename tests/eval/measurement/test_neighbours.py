"""The neighbour table of a report: which rows of it a concept of the emoji world has, and how its things are said to CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from erase.concepts import load_concept
from erase.concepts.several import evaluation_rows
from eval.measurement.neighbours import neighbours_of


class Letters:
    """An extractor whose features of a text count its letters; `said` keeps the texts."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, images: Sequence[object]) -> Tensor:
        raise AssertionError("the table looks at no image")

    def facts(self) -> dict[str, object]:
        return {}

    def texts(self, prompts: Sequence[str]) -> Tensor:
        self.said += prompts
        return torch.tensor([[float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in prompts])


@pytest.mark.parametrize(
    ("name", "own", "rings"),
    [
        ("cat", "an emoji of a cat", {"same kind", "same subgroup", "same group", "other groups"}),
        ("weapons", "an emoji of a weapon", {"same subgroup", "same group", "other groups"}),
        ("Fluent", "an emoji in the style of Fluent", {"same designers", "other designers"}),
    ],
)
def test_a_concept_has_rings_by_group_and_by_what_clip_reads(name: str, own: str, rings: set[str]) -> None:
    concept, clip = load_concept(name, "emoji"), Letters()
    rows = evaluation_rows((concept,), (concept,), 400)
    fates = [{"index": i, "ok_before": True, "ok_after": i % 2 == 0} for i in range(len(rows))]
    table = neighbours_of(asdict(concept), rows, fates, clip)
    assert table is not None
    assert {ring["ring"] for ring in table["by_group"]} <= rings
    assert len(table["by_group"]) > 1
    assert clip.said[0] == own
    assert not any(" a the " in text or " a scissors" in text for text in clip.said)
    assert sum(ring["members"] for ring in table["by_group"]) == sum(ring["members"] for ring in table["by_clip"]) == len(clip.said) - 1


def test_a_model_whose_world_has_no_groups_has_no_table() -> None:
    star = load_concept("star")
    rows = evaluation_rows((star,), (star,), 8)
    assert neighbours_of(asdict(star), rows, [{"index": i, "ok_before": True, "ok_after": True} for i in range(len(rows))], None) is None
