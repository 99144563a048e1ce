"""Importing torch and diffusers in less time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from types import ModuleType
from typing import Any


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


@contextmanager
def light_diffusers() -> Iterator[None]:
    """Within, diffusers and torch are imported without what only few of their users need and what takes seconds.

    That is torch's compiler, for which they mark functions (these stay as they are), and a table of which installed package has which
    modules, in which diffusers looks up packages with two names. For a process of its own: diffusers keeps what it has found at first.
    """
    table = metadata.packages_distributions
    later = {name: _Later(name) for name in LATER if name not in sys.modules}
    sys.modules.update(later)
    metadata.packages_distributions = dict
    try:
        yield
    finally:
        metadata.packages_distributions = table
        for name, module in later.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _Later(ModuleType):
    """Stands for a module, which is imported once anything else of it is needed than what stands for some of it."""

    def __getattr__(self, name: str) -> Any:
        if name in LATER[self.__name__]:
            return LATER[self.__name__][name]
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class _Absent:
    """A type that nothing is of."""


def _unchanged(function: Any = None, *_: Any, **__: Any) -> Any:
    return _unchanged if function is None else function


# Of torch's compiler, and of attention that only compiled code can use: what is named when diffusers is imported, and what shapes that are
# plain numbers need of the module for symbolic ones (which imports sympy).
LATER: dict[str, dict[str, Any]] = {
    "torch._dynamo": {"allow_in_graph": _unchanged, "disable": _unchanged},
    "torch.fx.experimental.symbolic_shapes": {
        **dict.fromkeys(("expect_true", "guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true"), bool),
        "guarding_hint_or_throw": int,
        "has_guarding_hint": lambda number: True,
        "is_nested_int": lambda number: False,
        "sym_and": lambda *flags: all(flags),
        "sym_eq": lambda one, other: list(one) == list(other) if isinstance(one, list | tuple) else one == other,
        "sym_or": lambda *flags: any(flags),
    },
    "sympy": {"Basic": _Absent},
    "torch.nn.attention.flex_attention": {"BlockMask": _Absent, "create_block_mask": _unchanged},
}
