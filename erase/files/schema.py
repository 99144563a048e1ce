"""What the records of a run hold, checked when they are read: a key that is missing or of another type is one line of error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from erase.errors import InputError

Schema = Any
"""A type (float: any number, int: a whole one of 64 bits), [schema] for a list, or a mapping of keys to schemas for an object, in which
`...` stands for every other key. None is allowed everywhere, as is a key that is missing; `Record` names the missing ones."""

RUN_OPTIONS = {  # options.json of a run folder of any kind
    "concept": str, "concepts": [dict], "concept_file": dict, "earlier": [str], "model": str, "method": str, "preset": str, "seed": int,
    "sampling": {"scheduler": str, "steps": int, "guidance": float, "size": int, "batch": int}, "method_options": dict, "weights": dict,
    "folders": {"before": str, "after": str, "left_out": [int]}, "asked": dict, "protocol": dict, "prompts": dict, "original": str,
    "erased": str, "device": str, "environment": dict, "resumed_in": [dict], "kind": str,
}  # fmt: skip
LINES = {  # what lines of a run have that others go by: steps, samples, measurements
    "step": int, "index": int, "role": str, "prompt": str, "text": str, "attributes": dict, "file": str, "sha256": str,
}  # fmt: skip
LARGEST = 1e100  # of a finite number: its square can be computed
REMEDY = "restore the file, or make it again"
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list"}


class Record(dict[str, Any]):
    """The object of a JSON file. A key that it lacks is an InputError that names the file, where code needs it."""

    __slots__ = ("where",)

    def __init__(self, values: Iterable[tuple[str, Any]] | Mapping[str, Any] = (), where: str = "a record") -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.where} has no {key!r} where one is needed; {REMEDY}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.where)


def check_schema(value: Any, schema: Schema, where: str, key: str = "") -> None:
    """InputError, with the key, for a value that is not as the schema says."""
    if value is None or schema is None:
        return
    if isinstance(schema, Mapping):
        _check_type(value, dict, where, key)
        for name, inner in value.items():
            check_schema(inner, schema.get(name, schema.get(...)), where, f"{key}.{name}" if key else str(name))
    elif isinstance(schema, list):
        _check_type(value, list, where, key)
        for number, inner in enumerate(value):
            check_schema(inner, schema[0], where, f"{key}[{number}]")
    else:
        _check_type(value, schema, where, key)


def _check_type(value: Any, kind: type, where: str, key: str) -> None:
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number and (abs(value) <= LARGEST or value != value or value in (math.inf, -math.inf))
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    else:
        fits = isinstance(value, kind)
    if not fits:
        text = repr(value)
        given = text if len(text) <= 40 else f"{text[:37]}..."
        raise InputError(f"{where}: {key or 'the whole'} is {given}; expected {_NAMES.get(kind, kind.__name__)}: {REMEDY}")
