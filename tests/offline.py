"""A test that may not reach a network."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest


def no_network(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """No weights in any cache and nowhere to fetch them from, also for processes that are started."""
    patch.setenv("TORCH_HOME", str(folder / "torch"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        patch.delenv(name, raising=False)
