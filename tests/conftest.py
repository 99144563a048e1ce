"""What all tests share: one thread (results then do not depend on the machine's cores) and a tiny pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pipeline import build, build_family

from erase.torchvision_compat import check_torchvision

check_torchvision()
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder with random weights. Read-only: copy it before changing it."""
    return build(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny folders with random weights as each family has them: sd1, sd2, sdxl. Read-only."""
    root = tmp_path_factory.mktemp("families")
    return {family: build_family(family, root / family) for family in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the upper bound of learning rates: within it, a tiny network may survive any."""
    monkeypatch.setattr("erase.options.RATE", 1e38)


FIRST = ("test_readme.py", "test_processes.py", "test_evaluate.py", "test_pipeline.py")  # minutes each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one of them would keep one worker busy while the other has nothing left."""
    items.sort(key=lambda item: item.path.name not in FIRST)
