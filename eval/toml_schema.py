"""Read a frozen dataclass from a TOML file. Each field declares its key (`key`); its annotation says what the key may hold.

Every mistake is an InputError with the file, the key, what it holds and what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from erase.errors import InputError
from erase.files import read_toml as tables_of

Schema = TypeVar("Schema")


def key(name: str, default: Any = MISSING, *, choices: tuple[str, ...] = (), low: float = 0, high: float = math.inf, step: int = 1) -> Any:
    """A field with its key in the file, as "section.key". Without a default, every file must have it.

    `choices` are the texts that it may hold; `low` and `high` bound numbers, and whole numbers are multiples of `step`.
    """
    return field(default=default, metadata={"key": name, "choices": choices, "low": low, "high": high, "step": step})


@dataclass(frozen=True)
class Key:
    """A key of a file: the field that it fills, the type that it holds, and its rules."""

    name: str
    field: str
    type: Any
    required: bool
    choices: tuple[str, ...]
    low: float
    high: float
    step: int


@dataclass(frozen=True)
class Kind:
    """A type of value: what an error says is expected, whether a value fits, and the value to store in a frozen dataclass."""

    expected: Callable[[Key], str]
    fits: Callable[[Any, Key], bool]
    frozen: Callable[[Any], Any] = lambda value: value


def keys_of(schema: type) -> dict[str, Key]:
    """The keys of a dataclass, by name, in the order of its fields."""
    hints = get_type_hints(schema)
    keys = {}
    for item in fields(schema):  # type: ignore[arg-type]
        if rule := item.metadata:
            kind, required = _not_none(hints[item.name]), item.default is MISSING
            keys[rule["key"]] = Key(rule["key"], item.name, kind, required, rule["choices"], rule["low"], rule["high"], rule["step"])
    return keys


def read_toml(schema: type[Schema], path: Path, /, **others: Any) -> Schema:
    """A file as an instance of `schema`; `others` are values of fields without a key."""
    try:
        raw = tables_of(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; expected a TOML file in UTF-8") from None
    keys = keys_of(schema)
    values = _flat(raw)
    for name, value in values.items():
        if name not in keys:
            raise InputError(f'{path}: unknown key "{name}"{hint(name, list(keys))}; allowed: {", ".join(keys)}')
        _check(path, keys[name], value)
    for name, entry in keys.items():
        if entry.required and name not in values:
            raise InputError(f'{path}: the key "{name}" is missing; it holds {KINDS[entry.type].expected(entry)}')
    return schema(**{keys[name].field: KINDS[keys[name].type].frozen(value) for name, value in values.items()}, **others)


def reject(path: str, name: str, reason: str) -> NoReturn:
    """InputError for a key whose value is of the right type, and still wrong."""
    raise InputError(f'{path}: the key "{name}": {reason}')


def hint(word: str, known: Sequence[str]) -> str:
    """The nearest of the known words, as a question, or nothing."""
    close = get_close_matches(word.casefold(), {name.casefold(): name for name in known}, n=1)
    return f', did you mean "{next(name for name in known if name.casefold() == close[0])}"?' if close else ""


def _check(path: Path, entry: Key, value: Any) -> None:
    kind = KINDS[entry.type]
    if not kind.fits(value, entry):
        raise InputError(f'{path}: the key "{entry.name}" holds {value!r}; expected {kind.expected(entry)}')
    if entry.choices and value not in entry.choices:
        raise InputError(f'{path}: the key "{entry.name}" is "{value}"{hint(value, entry.choices)}; allowed: {", ".join(entry.choices)}')


def _flat(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with their section in front: section.key."""
    values: dict[str, Any] = {}
    for name, value in raw.items():
        values |= {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
    return values


def _not_none(annotation: Any) -> Any:
    """T of an annotation T | None."""
    options = [option for option in get_args(annotation) if option is not NoneType]
    return options[0] if NoneType in get_args(annotation) else annotation


# --- kinds of values ------------------------------------------------------------------------------------------------


def _is_text(value: Any, entry: Key) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: Any, entry: Key) -> bool:
    return type(value) is int and entry.low <= value <= entry.high and value % entry.step == 0


def _is_number(value: Any, entry: Key) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and entry.low <= value <= entry.high


def _list_of(fits: Callable[[Any, Key], bool]) -> Callable[[Any, Key], bool]:
    """Lists of different members that fit, at least one."""
    return lambda value, entry: (
        isinstance(value, list) and all(fits(item, entry) for item in value) and 0 < len(value) == len({repr(item) for item in value})
    )


def _is_table(value: Any, entry: Key) -> bool:
    return isinstance(value, dict) and all(_list_of(_is_text)(words, entry) for words in value.values())


def _whole_number(entry: Key) -> str:
    return f"a whole number of at least {entry.low:g}" if entry.step == 1 else f"a multiple of {entry.step}, at least {entry.low:g}"


def _number(entry: Key) -> str:
    return f"a number from {entry.low:g} to {entry.high:g}" if math.isfinite(entry.high) else f"a finite number of at least {entry.low:g}"


KINDS: Mapping[Any, Kind] = {
    str: Kind(lambda entry: "a text in quotes that is not empty", _is_text),
    int: Kind(_whole_number, _is_whole),
    float: Kind(_number, _is_number),
    tuple[str, ...]: Kind(lambda entry: "a list of different texts, none of them empty", _list_of(_is_text), tuple),
    tuple[int, ...]: Kind(lambda entry: "a list of different whole numbers, none of them negative", _list_of(_is_whole), tuple),
    Mapping[str, tuple[str, ...]]: Kind(
        lambda entry: "a table of lists of different texts",
        _is_table,
        lambda table: {name: tuple(words) for name, words in table.items()},
    ),
}
