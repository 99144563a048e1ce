"""What the wheel holds: the three packages with all that lies in them, the prompts, and nothing else. It is listed here, not built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("erase", "eval", "ui")
MOST = 100_000_000  # bytes: what package indexes take of one file, unless they are asked


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    """Name in the wheel -> file."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="no hatchling here: pip install hatchling")
    return {file.distribution_path: Path(file.path) for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}


def test_it_holds_every_file_of_the_packages_and_the_prompts_and_no_other(files: dict[str, Path]) -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PACKAGES, "prompts"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git checkout: what belongs to the project is not known")
    names = {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert set(files) == {f"erase/{name}" if name.startswith("prompts/") else name for name in names}


@pytest.mark.parametrize("ending", [".toml", ".html", ".css", ".js", ".zip", ".json", ".safetensors"])
def test_it_holds_what_is_no_python(files: dict[str, Path], ending: str) -> None:
    assert any(name.endswith(ending) for name in files)


def test_it_holds_no_tests_no_docs_and_no_run(files: dict[str, Path]) -> None:
    assert {name.split("/")[0] for name in files} == set(PACKAGES)
    assert not [name for name in files if "/tests/" in name or "__pycache__" in name or Path(name).name.startswith("test_")]


def test_an_index_takes_it(files: dict[str, Path]) -> None:
    assert sum(path.stat().st_size for path in files.values()) < MOST
