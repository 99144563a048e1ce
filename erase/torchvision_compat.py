"""torchvision, which has to be the build made for the installed torch.

diffusers, transformers and open_clip import torchvision wherever it is installed. Beside another torch its compiled operators
do not load, and the traceback that follows names neither package. Everything here that imports one of these libraries calls
`check_torchvision` first, so that a mismatched pair ends in one line that says how to fix it.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Any

import torch

from erase.errors import InputError

REMEDY = 'pip install "erase-concept[eval]"'


@cache
def check_torchvision() -> None:
    """Import torchvision if it is installed; InputError where it was built for another torch. Call before importing diffusers."""
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "torchvision":  # optional
            return
        raise InputError(_mismatch(error)) from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # what loading a foreign library of operators raises
        raise InputError(_mismatch(error)) from error


def torchvision() -> Any:
    """The module; InputError where it is not installed or was built for another torch."""
    check_torchvision()
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise InputError(f"torchvision is not installed; install the build made for torch {torch.__version__}: {REMEDY}") from error
    return torchvision


def _mismatch(error: Exception) -> str:
    """What is installed, what was expected, and the remedy."""
    expected = [entry for entry in metadata.requires("torchvision") or () if entry.startswith("torch==")]
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return (
        f"torchvision {metadata.version('torchvision')} does not load beside torch {torch.__version__} ({reason}); "
        f"expected {expected[0] if expected else 'the torch that it was built for'}, from the same index; install both at once "
        f"(pip install --force-reinstall torch torchvision), or remove torchvision (pip uninstall torchvision)"
    )
