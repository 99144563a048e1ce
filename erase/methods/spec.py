"""Rows of a table of methods as people type them: `all`, `NAME`, or `NAME:option=value,...`. Knows no work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from erase.errors import InputError
from erase.methods import make_method, method_class
from erase.options import Kind, kind_of

BALANCED = "balanced"
RETRAIN = "retrain"


@dataclass(frozen=True)
class Entry:
    """A row of the table: its name, the method, and the options that differ from the method's defaults."""

    label: str
    method: str
    preset: str
    values: Mapping[str, Any]
    table: Mapping[str, type] = field(repr=False, compare=False)

    def make(self) -> Any:
        """The method."""
        return make_method(self.method, self.preset, table=self.table, **self.values)


def entries(texts: Sequence[str], table: Mapping[str, type], usual: str = BALANCED) -> list[Entry]:
    """A row for each text, in their order; `all` is every method of the table but retraining, which takes as long as training.

    A row may name its preset (`preset=NAME`); `usual` is for rows that name none, where their method has it.
    """
    names = [name for text in texts for name in ((n for n in table if n != RETRAIN) if text == "all" else [text])]
    return [entry(name, table, usual) for name in names]


def entry(text: str, table: Mapping[str, type], usual: str = BALANCED) -> Entry:
    """One row; InputError for an unknown method, option or value."""
    name, _, options = text.partition(":")
    method = method_class(name, table, "--methods")
    pairs = [pair.partition("=") for pair in re.split(r",\s*", options) if pair]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise InputError(f"--methods {text}: {bad[0]!r} is no option=value; expected e.g. {name}:learning_rate=0.01,epochs=5")
    values: dict[str, Any] = {key.strip().replace("-", "_"): value for key, _, value in pairs}
    preset = str(values.pop("preset", usual if usual in method.presets else BALANCED))
    known = {item.name for item in fields(method)}
    kinds = {key: kind_of(method, key) if key in known else Kind(str) for key in values}  # `make` refuses the unknown ones
    made = Entry(text, name, preset, {key: _value(text, key, value, kinds[key]) for key, value in values.items()}, table)
    made.make()
    return made


def _value(text: str, key: str, value: str, kind: Kind) -> Any:
    """A value as its field has it."""
    if value.lower() == "none" and kind.optional:
        return None
    if kind.type is bool and value.lower() in ("true", "false", "on", "off"):
        return value.lower() in ("true", "on")
    try:
        return {int: int, float: float, str: str}[kind.type](value)
    except (KeyError, ValueError):
        expected = "true or false" if kind.type is bool else kind.name
        raise InputError(f"--methods {text}: {key} is {value!r}; expected {expected}") from None
