"""Makes torchvision importable beside a build of torch that it was not made for.

PyPI's torchvision for Linux is built for torch with CUDA. Beside torch without it, its library of compiled operators does
not load, and `import torchvision` stops at the first operator that it names, and with it diffusers, transformers and
open_clip, which look at torchvision when it is there. None of what is used here needs these operators; declared, they are
only missing when they are called.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

NAMED = ("nms", "qnms")  # while torchvision is imported

_declared: list[Any] = []  # a declaration lasts as long as its Library


@cache
def declare_operators() -> None:
    """Declare what torchvision names, if it is installed and its own operators do not load. Call it before importing diffusers."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    library = next(Path(spec.origin).parent.glob("_C.*"), None)
    try:
        if library is not None:
            torch.ops.load_library(library)
            return
    except OSError:
        pass
    own = torch.library.Library("torchvision", "DEF")
    for name in NAMED:
        own.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(own)
