"""The commands beside the main job: a file each, and a line in COMMANDS. A file holds a function of its own name.

A command takes its arguments and returns the exit status. Its file is read when it is called, and what is heavy only in its function.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

COMMANDS = (
    "concepts",
    "methods",
    "estimate",
    "generate",
    "evaluate",
    "attack",
    "export",
    "compare",
    "bench",
    "sweep",
    "classify",
    "protocols",
    "ui",
)


def command(name: str) -> Callable[[list[str]], int]:
    """A command by name, or `erase`, the main job."""
    found: Callable[[list[str]], int] = getattr(import_module(f"erase.commands.{name}"), name)
    return found
