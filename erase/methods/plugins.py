"""Methods that other packages bring along: found by their entry points, loaded when they are asked for.

A package declares, in its pyproject.toml:  [project.entry-points."erase_concept.methods"]  name = "package.module:Class"
One that does not load, or takes a name that is taken, is named in `problems`; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from erase.errors import InputError

GROUP = "erase_concept.methods"


class Methods(Mapping[str, type]):
    """Our methods, in order, then those of others by name. Only a name that is not ours makes it look at what is installed."""

    def __init__(self, own: Mapping[str, type]) -> None:
        self.own = dict(own)
        self._loaded: dict[str, type] = {}

    @cached_property
    def found(self) -> dict[str, list[EntryPoint]]:
        """Name -> the entry points that claim it, one an implementation (a package may be found twice on the path)."""
        claims: dict[str, list[EntryPoint]] = {}
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
            known = claims.setdefault(entry.name, [])
            if entry.value not in [other.value for other in known]:
                known.append(entry)
        return claims

    def problems(self) -> list[str]:
        """A line for every method of others that cannot be used."""
        lines = [f"{_of(e)} is called {n!r}, as one of ours is; ours is used" for n in self.found if n in self.own for e in self.found[n]]
        for name in self.found:
            try:
                self[name]
            except InputError as error:
                lines.append(str(error))
        return lines

    def __getitem__(self, name: str) -> type:
        """InputError, in a line, for one that is there but does not load."""
        if name in self.own:
            return self.own[name]
        if name not in self._loaded:
            self._loaded[name] = _load(name, self.found[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.found

    def __iter__(self) -> Iterator[str]:
        """Names of those that can be used."""
        yield from self.own
        for name in self.found:
            if name not in self.own and self._loads(name):
                yield name

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _loads(self, name: str) -> bool:
        try:
            return self[name] is not None
        except InputError:
            return False


def _load(name: str, claims: list[EntryPoint]) -> type:
    if len(claims) > 1:
        raise InputError(f"two methods are called {name!r}: {' and '.join(map(_of, claims))}; uninstall one of the packages")
    [entry] = claims
    try:
        made: Any = entry.load()
    except Exception as error:  # whatever a stranger's module raises
        first = next(iter(str(error).splitlines()), "")[:160]
        raise InputError(
            f"the method {name!r} of {_of(entry)} does not load ({type(error).__name__}: {first}); update or uninstall that package"
        ) from error
    fits = isinstance(made, type) and is_dataclass(made) and any("__call__" in vars(base) for base in made.__mro__)
    if not fits or "balanced" not in getattr(made, "presets", ()):
        raise InputError(
            f"the method {name!r} of {_of(entry)} is no method; expected a frozen dataclass with presets, balanced among them, and a "
            "__call__(task, resume) that yields Steps"
        )
    return made  # type: ignore[no-any-return]


def _of(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name}" if entry.dist else "some package"
    return f"{entry.value} of {package}"
