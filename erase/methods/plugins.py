"""Methods of other installed packages: found by their entry points, imported on first use.

A package declares, in its pyproject.toml:  [project.entry-points."erase_concept.methods"]  name = "package.module:Class"
A method that does not load, or whose name is taken, is listed in `problems`; the others stay available.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TypeGuard

from erase.errors import InputError
from erase.methods.base import DiffusionMethod

GROUP = "erase_concept.methods"


class Methods(Mapping[str, type[DiffusionMethod]]):
    """Built-in methods in their order, then those of other packages by name. Entry points are read only for other names."""

    def __init__(self, own: Mapping[str, type[DiffusionMethod]]) -> None:
        self.own = dict(own)
        self._loaded: dict[str, type[DiffusionMethod]] = {}

    @cached_property
    def claims(self) -> dict[str, list[EntryPoint]]:
        """Name -> the entry points that claim it, one per implementation (a package may be on the path twice)."""
        claims: dict[str, list[EntryPoint]] = {}
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
            known = claims.setdefault(entry.name, [])
            if entry.value not in [other.value for other in known]:
                known.append(entry)
        return claims

    def problems(self) -> list[str]:
        """One line for each method of another package that cannot be used."""
        lines = [
            f"{_origin(entry)} is called {name!r}, which is the name of a built-in method; the built-in one is used"
            for name, entries in self.claims.items()
            if name in self.own
            for entry in entries
        ]
        for name in self.claims:
            try:
                self[name]
            except InputError as error:
                lines.append(str(error))
        return lines

    def __getitem__(self, name: str) -> type[DiffusionMethod]:
        """InputError, in one line, for a method that is installed but does not load."""
        if name in self.own:
            return self.own[name]
        if name not in self._loaded:
            self._loaded[name] = _load(name, self.claims[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.claims

    def __iter__(self) -> Iterator[str]:
        """Names of all methods that load."""
        yield from self.own
        for name in self.claims:
            if name not in self.own and self._loads(name):
                yield name

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _loads(self, name: str) -> bool:
        try:
            self[name]
        except InputError:
            return False
        return True


def _usable(method: object) -> TypeGuard[type[DiffusionMethod]]:
    if not (isinstance(method, type) and issubclass(method, DiffusionMethod) and is_dataclass(method)):
        return False
    return "balanced" in method.presets and method.__call__ is not DiffusionMethod.__call__


def _load(name: str, claims: list[EntryPoint]) -> type[DiffusionMethod]:
    if len(claims) > 1:
        raise InputError(f"two methods are called {name!r}: {' and '.join(map(_origin, claims))}; uninstall one of the packages")
    [entry] = claims
    try:
        method: object = entry.load()
        if _usable(method):
            for preset in method.presets.values():
                _ = method(**preset).requirements  # a misspelt option or requirement is a TypeError here, not in the middle of a job
            return method
    except Exception as error:  # whatever another package's module raises
        first = next(iter(str(error).splitlines()), "")[:160]
        raise InputError(
            f"the method {name!r} of {_origin(entry)} does not load ({type(error).__name__}: {first}); update or uninstall that package"
        ) from error
    raise InputError(
        f"the method {name!r} of {_origin(entry)} is not a method; expected a frozen dataclass derived from erase.methods.DiffusionMethod, "
        "with presets, balanced among them, and a __call__(task, resume) that yields Steps"
    )


def _origin(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name}" if entry.dist else "an unknown package"
    return f"{entry.value} of {package}"
