"""A torchvision that was built for another torch ends in one line that says how to fix it; the matching one works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from erase.errors import InputError
from erase.torchvision_compat import check_torchvision, torchvision

ROOT = Path(__file__).resolve().parents[2]
LIGHT = """
import sys
import eval.vision.clip, eval.vision.imagenet, eval.vision.inception, eval.vision.weights
print(*(name for name in ("open_clip", "torchmetrics", "torch_fidelity", "timm") if name in sys.modules))
"""


@pytest.fixture(scope="module")
def mismatched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed torchvision but for its compiled operators, as if they did not load."""
    folder = tmp_path_factory.mktemp("mismatched")
    spec = find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(
        Path(spec.origin).parent, folder / "torchvision", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "tests")
    )
    return folder


def run(first: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with `first` in front of the installed packages."""
    paths = [str(path) for path in (first, ROOT) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_there_is_a_fault_to_report(mismatched: Path) -> None:
    """Without the check, diffusers ends in a traceback."""
    done = run(mismatched, "-c", "from diffusers import StableDiffusionPipeline")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["--concept", "star", "--output", "never"],
        ["generate", "demo", "--prompt", "a star", "--output", "never"],
    ],
)
def test_every_command_that_draws_says_in_one_line_how_to_mend_a_mismatched_pair(command: list[str], mismatched: Path) -> None:
    done = run(mismatched, "-m", "erase", *command)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"does not load beside torch {torch.__version__}" in done.stderr
    assert "pip install --force-reinstall torch torchvision" in done.stderr
    assert not (ROOT / "never").exists()


@pytest.mark.parametrize("command", [["concepts", "star", "--count", "1"], ["estimate", "--concept", "star"]], ids=lambda words: words[0])
def test_commands_that_draw_nothing_do_not_mind(command: list[str], mismatched: Path) -> None:
    done = run(mismatched, "-m", "erase", *command)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_pair_matches_and_its_networks_and_transforms_work() -> None:
    from torchvision import models

    check_torchvision()
    assert models is torchvision().models
    with torch.no_grad():
        assert torchvision().models.alexnet(weights=None).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_without_torchvision_one_line_helps_and_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    check_torchvision.cache_clear()
    check_torchvision()
    with pytest.raises(InputError, match=r'torchvision is not installed; .*pip install "erase-concept\[eval\]"'):
        torchvision()
    monkeypatch.undo()
    check_torchvision.cache_clear()


def test_importing_our_modules_imports_no_optional_library() -> None:
    done = run(None, "-c", LIGHT)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
