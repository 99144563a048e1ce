"""The page shows finished runs and opens nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from erase.run import Run
from erase.task import InputError
from ui.page import finished, show


def finished_run(root: Path, name: str) -> None:
    options = {"concept": "star", "model": "demo", "method": "scissorhands", "preset": "balanced", "method_options": {"steps": 3}}
    with Run.open(root / name, options) as run:
        run.comparison.write_bytes(b"png")
        report = {k: options[k] for k in ("concept", "model", "method", "preset")}
        run.report.write_text(json.dumps(report | {"protocol": {"note": "nothing was measured"}, "before": {}, "after": {}}))


def test_an_empty_folder_says_what_to_do(tmp_path):
    assert finished(tmp_path) == []
    assert "erase-concept --concept star" in show(tmp_path, None)[1]


def test_a_finished_run_is_listed_and_shown(tmp_path):
    finished_run(tmp_path, "star-demo-scissorhands-1")
    with Run.open(tmp_path / "star-demo-scissorhands-2", {"concept": "star"}):
        pass  # no report yet
    assert finished(tmp_path) == ["star-demo-scissorhands-1"]
    picture, text, options = show(tmp_path, "star-demo-scissorhands-1")
    assert picture == str(tmp_path / "star-demo-scissorhands-1" / "comparison.png")
    assert "star" in text
    assert options["steps"] == 3


def test_a_path_outside_is_refused(tmp_path):
    finished_run(tmp_path / "elsewhere", "a-1")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="not a finished run"):
        show(tmp_path / "runs", "../elsewhere/a-1")
