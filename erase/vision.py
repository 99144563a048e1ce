"""torchvision, whose only door this is: it comes in also beside a torch that it was not built for. Knows no network and no data."""

from __future__ import annotations

from typing import Any

import torch

from erase.operators import declare_operators
from erase.task import InputError

REMEDY = 'pip install "erase-concept[eval]"'


def torchvision() -> Any:
    """The module torchvision, also beside a torch that it was not built for; InputError where it is not installed."""
    declare_operators()
    try:
        import torchvision
    except ImportError as error:
        what = "is not installed" if error.name == "torchvision" else f"cannot be imported ({error})"
        raise InputError(f"torchvision {what}; install the one made for torch {torch.__version__}: {REMEDY}") from error
    return torchvision
