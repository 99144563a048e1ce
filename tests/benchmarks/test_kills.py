"""The benchmark of kills sees what a kill must not leave, plans every part with every signal, and compares all but times."""

from __future__ import annotations

import importlib
import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def intact(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("intact")


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("kills")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of every kind, whole."""
    (folder := tmp_path / "run" / "images").mkdir(parents=True)
    Image.new("RGB", (32, 32), "red").save(folder / "00000.png")
    save_file({"weight": torch.arange(64.0)}, folder / "weights.safetensors")
    (folder / "stages.json").write_text(json.dumps({"images": {"seconds": 1.5, "count": 4}}))
    (folder / "stats.jsonl").write_text('{"step": 1, "seconds": 0.1}\n{"step": 2, "seconds": 0.2}\n')
    (folder / "report.html").write_text("<p>1.5 s")
    (folder / ".lock").touch()
    return tmp_path / "run"


def test_whole_files_are_whole(intact: ModuleType, folder: Path) -> None:
    assert intact.torn(folder) == []
    assert len(intact.files(folder)) == 5
    assert intact.torn(folder / "none") == []


@pytest.mark.parametrize("name", ["00000.png", "weights.safetensors", "stages.json"])
def test_a_file_that_is_cut_off_anywhere_is_torn(intact: ModuleType, folder: Path, name: str) -> None:
    path = folder / "images" / name
    content = path.read_bytes()
    for share in (0, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert intact.torn(folder) == [f"images/{name}"]
    path.rename(path.with_name(f".{name}.7-0.part"))  # under a temporary name it may be
    assert intact.torn(folder) == []
    assert list(intact.leftovers(folder)) == [f"images/.{name}.7-0.part"]


def test_a_line_that_is_cut_off_is_torn_only_in_the_middle(intact: ModuleType, folder: Path) -> None:
    path = folder / "images" / "stats.jsonl"
    path.write_text('{"step": 1}\n{"st')
    assert intact.torn(folder) == []
    path.write_text('{"st\n{"step": 1}\n')
    assert intact.torn(folder) == ["images/stats.jsonl"]
    (folder / "images" / "report.html").write_text("")
    assert intact.torn(folder) == ["images/report.html", "images/stats.jsonl"]


def test_results_are_compared_and_times_are_not(intact: ModuleType, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, other := tmp_path / "other")
    images = other / "images"
    (images / "stages.json").write_text(json.dumps({"images": {"seconds": 9.0, "count": 4}}))
    (images / "stats.jsonl").write_text('{"step": 1, "seconds": 5}\n{"step": 2, "seconds": 6}\n')
    (images / "report.html").write_text("<p>9 s")
    (images / ".lock").unlink()
    assert intact.differing(folder, other) == []
    (images / "stages.json").write_text(json.dumps({"images": {"seconds": 9.0, "count": 5}}))
    save_file({"weight": torch.arange(64.0).nextafter(torch.tensor(9.0))}, images / "weights.safetensors")
    (images / "more.txt").write_text("more")
    assert intact.differing(folder, other) == ["images/more.txt", "images/stages.json", "images/weights.safetensors"]


def test_two_files_are_compared_by_their_bytes_and_not_by_their_names(intact: ModuleType, tmp_path: Path) -> None:
    one, other = tmp_path / "reference", tmp_path / "unet.safetensors"
    one.write_bytes(b"the same")
    other.write_bytes(b"the same")
    assert intact.differing(one, other) == []
    other.write_bytes(b"another!")
    assert intact.differing(one, other) == ["unet.safetensors"]


def test_every_part_of_every_command_is_killed_by_every_signal(kills: ModuleType) -> None:
    names = list(kills.COMMANDS)
    assert {name.split()[0] for name in names} == {"main", "export", "evaluate", "attack", "bench"}
    assert kills.COMMANDS["main"].parts == ("start", "images", "before", "latents", "erase", "export", "after", "measure")
    cells = sum(3 * len(command.parts) for command in kills.COMMANDS.values())
    plan = list(kills.trials(names, 200, seed=0))
    assert plan == list(kills.trials(names, 200, seed=0))
    assert sum(1 + kill.twice for kill in plan) in (200, 201)
    seen = Counter((kill.command, kill.part, kill.signal) for kill in plan)
    assert len(seen) == cells
    assert max(seen.values()) - min(seen.values()) <= 1
    assert {kill.signal for kill in plan} == {signal.SIGINT, signal.SIGTERM, signal.SIGKILL}
    assert len(list(kills.trials(["export"], 1, seed=3))) == 1
