"""Methods with options as typed on a command line: `all`, `NAME`, or `NAME:option=value,...`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from erase.errors import InputError
from erase.methods import make_method, method_class
from erase.methods.base import Method
from erase.options import Kind, kind_of

BALANCED = "balanced"
RETRAIN = "retrain"


@dataclass(frozen=True)
class Entry:
    """One row of a table of methods: its label, the method, its preset, and the options that differ from the preset."""

    label: str
    method: str
    preset: str
    values: Mapping[str, Any]
    table: Mapping[str, type[Method]] = field(repr=False, compare=False)

    def make(self) -> Any:
        """The method with these options."""
        return make_method(self.method, self.preset, table=self.table, **self.values)


def entries(texts: Sequence[str], table: Mapping[str, type[Method]], usual: str = BALANCED) -> list[Entry]:
    """One row per text, in order; `all` is every method of the table except retraining, which takes as long as training.

    A row may name its preset (`preset=NAME`); the others have the preset `usual`, if their method has it.
    """
    names = [name for text in texts for name in ((n for n in table if n != RETRAIN) if text == "all" else [text])]
    return [entry(name, table, usual) for name in names]


def entry(text: str, table: Mapping[str, type[Method]], usual: str = BALANCED, source: str = "--methods") -> Entry:
    """One row; InputError for an unknown method, option or value. `source` is what errors call the text."""
    name, _, options = text.partition(":")
    method = method_class(name, table, source)
    options_class: type = method
    pairs = [pair.partition("=") for pair in re.split(r",\s*", options) if pair]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise InputError(f"{source} {text}: {bad[0]!r} is not an option=value; expected e.g. {name}:learning_rate=0.01,epochs=5")
    values: dict[str, Any] = {key.strip().replace("-", "_"): value for key, _, value in pairs}
    preset = str(values.pop("preset", usual if usual in method.presets else BALANCED))
    known = {item.name for item in fields(method)}
    kinds = {key: kind_of(options_class, key) if key in known else Kind(str) for key in values}  # `make` refuses the unknown ones
    row = Entry(text, name, preset, {key: _value(f"{source} {text}", key, value, kinds[key]) for key, value in values.items()}, table)
    row.make()  # raises for an unknown option or a value out of bounds
    return row


def _value(text: str, key: str, value: str, kind: Kind) -> Any:
    """The value in the type of its option."""
    if value.lower() == "none" and kind.optional:
        return None
    if kind.type is bool and value.lower() in ("true", "false", "on", "off"):
        return value.lower() in ("true", "on")
    try:
        return {int: int, float: float, str: str}[kind.type](value)
    except (KeyError, ValueError):
        expected = "true or false" if kind.type is bool else kind.name
        raise InputError(f"{text}: {key} is {value!r}; expected {expected}") from None
