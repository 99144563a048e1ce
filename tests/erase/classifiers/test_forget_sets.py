"""Requests: exact counts, nothing twice, nothing that is not there, and always something left to retain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from erase.classifiers.datasets import Data, Samples
from erase.classifiers.forget_sets import forgotten_classes, make_case, requested_rows
from erase.errors import InputError


def samples(n: int, start: int = 0) -> Samples:
    return Samples(torch.zeros(n, 1, 2, 2), torch.arange(n) % 4, tuple(f"p{i}" for i in range(start, start + n)))


DATA = Data("toy", samples(40), samples(8, 100), samples(12, 200), ("cat", "dog", "sea lion", "owl"))


def test_a_share_a_count_and_a_class() -> None:
    share, count, one = requested_rows(DATA, ["random:10%", "random:3", "class:dog"], seed=0)
    assert (len(share), len(count)) == (4, 3)
    assert set(DATA.train.y[one].tolist()) == {1}
    together = torch.cat([share, count, one])
    assert len(set(together.tolist())) == len(together)
    assert forgotten_classes(DATA, together) == [1]


def test_the_seed_decides_and_only_the_seed() -> None:
    again = [requested_rows(DATA, ["random:50%"], seed)[0].tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    drawn = {forgotten_classes(DATA, requested_rows(DATA, ["class:random"], seed)[0])[0] for seed in range(12)}
    assert len(drawn) > 1


def test_several_classes_by_name_or_share() -> None:
    assert forgotten_classes(DATA, requested_rows(DATA, ["identity:Cat, sea lion"], 0)[0]) == [0, 2]
    assert len(forgotten_classes(DATA, requested_rows(DATA, ["class:50%"], 0)[0])) == 2


@pytest.mark.parametrize(("share", "count"), [("10%", 30), ("50%", 153), ("0.2%", 1)])
def test_a_share_of_classes_is_rounded_down_to_one_at_least(share: str, count: int) -> None:
    """As in the paper's script: 30 of 307 people are a tenth."""
    people = Samples(torch.zeros(307, 1, 2, 2), torch.arange(307), tuple(map(str, range(307))))
    data = Data("people", people, people, people, people.ids)
    assert len(requested_rows(data, [f"class:{share}"], 0)[0]) == count


@pytest.mark.parametrize("text", ["p3\np11\n", "name,id\nx,p3\ny,p11\n", "id\n\np11\np3\n\n", "\ufeffid;\np3;\np11;\n".replace(";", ",")])
def test_a_list_of_ids(tmp_path: Path, text: str) -> None:
    path = tmp_path / "takedown.csv"
    path.write_text(text, encoding="utf-8")
    assert requested_rows(DATA, [f"ids:{path}"], 0)[0].tolist() == [3, 11]


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([], "--forget is missing"),
        (["random:100%"], "leaves none to retain"),
        (["random:60%", "random:50%"], "leaves none to retain"),
        (["random:1.5"], "is not a request"),
        (["random:ten"], "is not a request"),
        (["random:0%"], "selects none"),
        (["everything"], "is not a request"),
        (["class:cow"], "no class 'cow'; it has 'cat', 'dog'"),
        (["class:sealion"], "did you mean 'sea lion'"),
        (["class:cat,dog,sea lion,owl"], "leaves none"),
        (["class:dog", "class:dog"], "selects none"),
        (["ids:absent.csv"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(requests: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        requested_rows(DATA, requests, 0)
    assert "\n" not in str(error.value)


def test_ids_that_are_not_there_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    path = tmp_path / "takedown.csv"
    path.write_text("id\n" + "\n".join(["p1", *(f"q{i}" for i in range(9))]))
    with pytest.raises(InputError, match=r"lists 9 ids .*'q0', 'q1', 'q2', 'q3', 'q4' and 4 more; ids look like 'p0'"):
        requested_rows(DATA, [f"ids:{path}"], 0)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "takedown.csv"
    path.write_bytes(b"\xff\xfd\x00p")
    with pytest.raises(InputError, match="is not text in UTF-8"):
        requested_rows(DATA, [f"ids:{path}"], 0)


def test_a_case_parts_the_test_samples_by_what_is_forgotten_whole() -> None:
    whole = make_case(DATA, requested_rows(DATA, ["class:owl"], 0)[0], 0, 8, lambda name, rows: torch.nn.Identity())
    assert (set(whole.test.y.tolist()), set(whole.gone.y.tolist())) == ({0, 1, 2}, {3})
    some = make_case(DATA, requested_rows(DATA, ["random:10%"], 0)[0], 0, 8, lambda name, rows: torch.nn.Identity(), "validation")
    assert (len(some.test), len(some.gone)) == (8, 0)
    assert sorted([*some.forget.tolist(), *some.retain.tolist()]) == list(range(40))
