"""The estimate of a run's disk space covers what the run then takes, and a disk that is too small is told before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from erase.demo import pipeline_path
from erase.errors import InputError
from erase.methods import make_method
from erase.pipeline import disk, erase_concept
from erase.pipeline.disk import disk_need, enough_disk
from erase.pipeline.job import Job

SMALL = {"forget_count": 8, "retain_count": 8, "evaluate_count": 4, "sampling_steps": 1, "guidance": 1.0, "sampling_batch": 8}


def test_the_estimate_covers_a_run_and_is_not_far_from_it(tmp_path: Path) -> None:
    job = Job(concepts=("star",), output=str(tmp_path / "run"), device="cpu", **SMALL)
    folder = erase_concept(job, {"steps": 1, "sensitivity_batches": 1, "scope": "full"})
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    need = disk_need(pipeline_path(), job, make_method("scissorhands", steps=1, scope="full").requirements)
    assert need["checkpoint"] == 0
    assert taken <= sum(need.values()) <= 1.2 * taken


def test_a_full_disk_is_told_with_the_need_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, wants = Job(concepts=("star",), **SMALL), make_method("scissorhands", scope="full").requirements
    assert "free" in enough_disk(tmp_path / "new" / "run", pipeline_path(), job, wants)

    class Little:
        free = 20_000_000

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Little)
    with pytest.raises(InputError, match=r"needs about .* MB more disk space \(checkpoint .*\), and 20 MB are free at .*another disk"):
        enough_disk(tmp_path / "new" / "run", pipeline_path(), job, wants)
    with pytest.raises(InputError, match="give an --output on another disk"):
        erase_concept(Job(concepts=("star",), output=str(tmp_path / "run"), device="cpu", **SMALL), {"scope": "full"})
    assert not (tmp_path / "run" / "images").exists()


def test_what_is_there_already_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on needs only what is missing."""
    job, wants = Job(concepts=("star",), **SMALL), make_method("scissorhands", steps=1).requirements
    whole = sum(disk_need(pipeline_path(), job, wants).values())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(whole - 1000))

    class Little:
        free = 2000

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Little)
    enough_disk(tmp_path, pipeline_path(), job, wants)
