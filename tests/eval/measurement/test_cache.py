"""Nothing measured is lost or counts twice, whoever measured it and wherever it was stopped; and memory does not grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eval.measurement import cache as measured
from eval.measurement.cache import Shard, ShardFiles, gather, prepare, read_shard
from eval.metrics.frechet import Moments
from eval.metrics.kid import LIMIT

N, D, CHUNK = 50, 3, 4
FEATURES = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
CHUNKS = [range(start, min(start + CHUNK, N)) for start in range(0, N, CHUNK)]


class Killed(Exception):
    """What a kill leaves is what is on the disk: nothing of the object is used afterwards."""


def work(folder: Path, rank: int = 0, world: int = 1, stop: int | None = None) -> list[int]:
    """Measure this process's share, of every picture with an even number the features; returns what was looked at."""
    state, looked = Shard.open_for_writing(folder, "before", N, D, rank), []
    for number, chunk in enumerate(CHUNKS[rank::world]):
        new = [i for i in chunk if i not in state.done]
        if number == stop:
            raise Killed(looked)
        if new:
            looked += new
            even = [i for i in new if i % 2 == 0]
            state.add([{"index": i, "score": i / 7} for i in new], even, FEATURES[even])
    state.save()
    return looked


def check(folder: Path, exact: bool = True) -> None:
    """Every picture once, and the sums those of all even pictures at once."""
    gathered = gather(folder, "before", N, D)
    records, moments, sample = gathered.records, gathered.moments, gathered.sample
    assert records == [{"index": i, "score": i / 7} for i in range(N)]
    even = FEATURES[::2].double()
    assert moments.n == len(even) == 25
    torch.testing.assert_close(moments.total, even.sum(0))
    torch.testing.assert_close(moments.outer, even.T @ even)
    assert sorted(sample.rows) == list(range(0, N, 2))
    assert torch.equal(sample.compute(), FEATURES[::2])
    if exact:
        fresh = Moments.empty(D)
        for chunk in CHUNKS:
            fresh.update(FEATURES[[i for i in chunk if i % 2 == 0]])
        assert torch.equal(moments.total, fresh.total)
        assert torch.equal(moments.outer, fresh.outer)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SAVE_EVERY", 10)


def test_everything_is_there_once_and_measuring_again_looks_at_nothing(tmp_path: Path) -> None:
    assert work(tmp_path) == list(range(N))
    check(tmp_path)
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert work(tmp_path) == []
    check(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == there


@pytest.mark.parametrize("stops", [(0,), (1,), (3,), (7,), (5, 2, 9), (12, 12)])
def test_killed_at_any_place_it_goes_on_to_the_same_bits(tmp_path: Path, stops: Sequence[int]) -> None:
    """Chunks are the same before and after, so even the rounding of the sums is."""
    for stop in stops:
        with pytest.raises(Killed):
            work(tmp_path, stop=stop)
    again = work(tmp_path)
    assert len(again) <= N
    check(tmp_path)


def test_what_was_saved_is_not_looked_at_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        work(tmp_path, stop=10)  # 40 pictures, saved after 12, 24 and 36
    assert work(tmp_path) == list(range(36, N))


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_torn_line_is_of_a_picture_that_is_looked_at_again(tmp_path: Path, cut: int) -> None:
    with pytest.raises(Killed):
        work(tmp_path, stop=10)
    lines = tmp_path / "before.0.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    work(tmp_path)
    check(tmp_path)


def test_several_processes_come_to_the_same(tmp_path: Path) -> None:
    looked = [work(tmp_path, rank, 3) for rank in range(3)]
    assert sorted(i for part in looked for i in part) == list(range(N))
    check(tmp_path, exact=False)


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_another_number_of_processes_goes_on_where_the_first_were_killed(tmp_path: Path, first: int, then: int) -> None:
    for rank in range(first):
        with pytest.raises(Killed):
            work(tmp_path, rank, first, stop=3)
    for rank in range(then):
        work(tmp_path, rank, then)
    check(tmp_path, exact=False)


def test_other_facts_throw_away_what_was_measured_and_the_same_keep_it(tmp_path: Path) -> None:
    facts = {"detector": {"name": "judge"}, "labels": ("a", "b")}
    prepare(tmp_path / "m", facts)
    work(tmp_path / "m")
    prepare(tmp_path / "m", {**facts, "labels": ["a", "b"]})  # as JSON has it
    assert work(tmp_path / "m") == []
    prepare(tmp_path / "m", {**facts, "detector": {"name": "clip"}})
    assert work(tmp_path / "m") == list(range(N))
    assert json.loads((tmp_path / "m" / "facts.json").read_text())["detector"] == {"name": "clip"}


def test_without_features_there_are_lines_and_no_sums(tmp_path: Path) -> None:
    state = Shard.open_for_writing(tmp_path, "after", 3, None)
    state.add([{"index": i} for i in range(3)], [], None)
    state.save()
    gathered = gather(tmp_path, "after", 3, None)
    assert ([r["index"] for r in gathered.records], gathered.moments.n, gathered.sample.rows) == ([0, 1, 2], 0, {})
    assert gather(tmp_path, "before", 3, None).records == []


def test_a_reader_changes_nothing_while_a_writer_has_unsaved_rows(tmp_path: Path) -> None:
    """The rows of a writer that nobody has saved yet are its own: a reader leaves them out and leaves them there."""
    shard = Shard.open_for_writing(tmp_path, "before", N, None)
    shard.add([{"index": i} for i in range(10)], [], None)  # saved: SAVE_EVERY is 10 here
    shard.add([{"index": i} for i in range(10, 17)], [], None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before["before.0.jsonl"].count(b"\n") == 17
    for _ in range(2):
        assert [record["index"] for record in gather(tmp_path, "before", N, None).records] == list(range(10))
        assert read_shard(ShardFiles.of(tmp_path, "before", 0), N, None).indexes == list(range(10))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    shard.add([{"index": i} for i in range(17, N)], [], None)
    shard.save()
    assert [record["index"] for record in gather(tmp_path, "before", N, None).records] == list(range(N))


def test_a_reader_needs_no_permission_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work(tmp_path)
    files = [*tmp_path.iterdir()]

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("read-only")

    for writer in ("written", "write_tensors", "write_json", "append_lines"):
        monkeypatch.setattr(measured, writer, refuse)  # the tests may run as root, whom the modes below do not stop
    for path in files:
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        check(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_shard_that_was_never_saved_is_empty(tmp_path: Path) -> None:
    saved = read_shard(ShardFiles.of(tmp_path, "before", 0), N, D)
    assert (saved.indexes, saved.records, saved.moments.n, saved.sample.rows) == ([], [], 0, {})
    assert list(tmp_path.iterdir()) == []


def numbers_in_memory(state: Shard) -> int:
    """Numbers in memory beside one per image."""
    tensors: list[Tensor] = [state.moments.total, state.moments.outer, *state.sample.rows.values()]
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in tensors)


def test_memory_is_that_of_sums_and_of_a_bounded_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SAVE_EVERY", 100_000)
    total = 3 * LIMIT
    state = Shard.open_for_writing(tmp_path, "before", total, D)
    sizes = []
    for start in range(0, total, 500):
        indexes = range(start, start + 500)
        state.add([{"index": i} for i in indexes], indexes, torch.randn(500, D))
        sizes.append(len(state.sample.rows))
    state.save()
    assert sizes[-1] == LIMIT
    assert state.moments.n == total
    assert numbers_in_memory(state) == D + D * D + LIMIT * D
    assert state.files.sums.stat().st_size < 4 * LIMIT * D + 8 * (total + LIMIT) + 4096
