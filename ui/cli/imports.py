"""Importing torch and diffusers in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Within, garbage is not collected: a collection goes through all objects, which while large libraries load are all in use."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what has been imported stays, so that later collections need not go through it either
        if enabled:
            gc.enable()
