"""Importing gradio in less time: without the type stubs that it writes for its editor support."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WRITER = "gradio.component_meta"


@contextmanager
def no_type_stubs() -> Iterator[None]:
    """Within, gradio is imported without parsing the source of each of its components to write a stub beside it, a third of the time."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds the module that writes the stubs as Python does, and takes the writing out of it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == WRITER else None
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def executed(module: ModuleType) -> None:
                execute(module)
                module.create_or_modify_pyi = lambda *_, **__: None  # type: ignore[attr-defined]

            loader.exec_module = executed
        return spec
