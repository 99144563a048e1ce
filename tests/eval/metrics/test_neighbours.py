"""The neighbour table: rates by ring, ranks by similarity, what lost most, on a case worked by hand."""

from __future__ import annotations

import pytest

from eval.metrics.neighbours import RANKS, Member, lost_most, members, ranked, rings_of

KEEP, NAMED = "evaluate-retain", "evaluate"
ROWS = [
    {"role": NAMED, "attributes": {"object": "cat"}},
    *({"role": KEEP, "attributes": {"object": name}} for name in ("lion", "lion", "dog", "pizza", "pizza")),
    {"role": KEEP, "attributes": {"background": "white"}},
]
OK = [(False, True), (True, False), (True, False), (True, True), (True, False), (False, True), (True, True)]
FATES = [{"index": i, "role": row["role"], "ok_before": a, "ok_after": b} for i, (row, (a, b)) in enumerate(zip(ROWS, OK, strict=True))]
FOUND = members(ROWS, FATES, "object")


def test_each_thing_to_keep_is_counted_and_the_concept_s_own_prompts_are_not() -> None:
    assert {"lion": Member("lion", 2, 2, 0), "dog": Member("dog", 1, 1, 1), "pizza": Member("pizza", 2, 1, 1)} == FOUND


def test_a_ring_has_the_rates_of_its_images() -> None:
    rings = rings_of(FOUND, {"lion": "near", "dog": "near", "pizza": "far"}, ["near", "middle", "far"])
    assert [(ring["ring"], ring["members"], ring["after"]["n"]) for ring in rings] == [("near", 2, 3), ("far", 1, 2)]
    assert [ring["before"]["value"] for ring in rings] == [100, 50]
    assert rings[0]["after"]["value"] == pytest.approx(100 / 3, abs=1e-3)
    assert [ring["kept"] for ring in rings] == [33.3, 100.0]


def test_what_was_never_as_asked_has_no_share_that_is_kept() -> None:
    assert rings_of({"x": Member("x", 3, 0, 1)}, {"x": "near"}, ["near"])[0]["kept"] is None


def test_only_what_lost_is_listed_the_worst_first() -> None:
    assert [one.name for one in lost_most(FOUND | {"bee": Member("bee", 4, 3, 1)})] == ["lion", "bee"]


def test_five_are_nearest_and_twenty_next() -> None:
    ranks = ranked({f"{k:02d}": 1 - k / 100 for k in range(40)})
    assert [sum(rank == name for rank in ranks.values()) for name in RANKS] == [5, 20, 15]
    assert ranks["04"] == RANKS[0]
    assert ranks["05"] == RANKS[1]
