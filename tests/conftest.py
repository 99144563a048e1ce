"""What all tests share: one thread (results then do not depend on the machine's cores), a tiny pipeline, and less waiting."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_pipeline import build, build_family
from warm import warm

from erase.torchvision_compat import check_torchvision

check_torchvision()
torch.set_num_threads(1)
gc.disable()  # while modules are imported and tests collected: going through all objects takes time, and all are in use


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def real_fsync() -> Iterator[Callable[[int], None]]:
    """os.fsync, which does nothing in most tests: it takes milliseconds, and what it guards against, a power failure, no test makes."""
    original = os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield original


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Python that takes a call's time without the seconds of its imports (warm.py)."""
    with warm(tmp_path_factory.mktemp("warm"), {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}) as python:
        yield python


@pytest.fixture
def quick_processes(warm_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started with `sys.executable` find the large libraries imported."""
    monkeypatch.setattr(sys, "executable", warm_python)


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


FIRST = ("test_readme.py", "test_evaluate.py", "test_pipeline.py", "test_browser.py")  # a minute and more each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one of them would keep one worker busy while the other has nothing left."""
    items.sort(key=lambda item: item.path.name not in FIRST)
