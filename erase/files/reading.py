"""Files that others may have written: text, JSON, JSON lines and TOML, read within bounds.

Every mistake is an InputError of one line that names the file: not a plain file, too large, not UTF-8, not JSON or TOML, nested too
deeply, a field too long, too many entries. A file that does not exist stays a FileNotFoundError (or NotADirectoryError), because
callers know what its absence means.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files.outputs import kind_of_file
from erase.files.schema import Record, Schema, check_schema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

JSON_BYTES = 40 * 2**20  # the largest tokenizers of text encoders take 35 MB
TOML_BYTES = 2**20  # thousands of prompts
TABLE_BYTES = 128 * 2**20  # prompts and captions
RECORD_BYTES = 2**29  # lines that a run writes: one for each image, step or sample
LINE_BYTES = 8 * 2**20  # of a .jsonl file
DEPTH = 64  # of lists and objects within one another
FIELD = 131_072  # characters of a cell, Python's own limit for CSV
ENTRIES = 1_000_000  # prompts or captions
RECORDS = 10_000_000  # lines that a run writes
CONTAINERS = 2_000_000  # lists and objects of a JSON text, each of which takes a hundred bytes of memory
_MARK = "\ufeff"
_LONE = re.compile("[\ud800-\udfff]")
_HALF = re.compile(r"\\u[dD]")
_BREAK = re.compile(r"[\s=#\[\]{},]")


def read_bytes(path: Path, limit: int = JSON_BYTES) -> bytes:
    """The content of a plain file of at most `limit` bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is {kind_of_file(status.st_mode)}; expected a file")
        if status.st_size > limit:
            raise InputError(f"{path} has {status.st_size / 2**20:.0f} MiB; a file of this kind has at most {limit / 2**20:.0f}")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a file that can") from error
    if len(data) > limit:
        raise InputError(f"{path} grows while it is read; expected a file of at most {limit / 2**20:.0f} MiB")
    return data


def read_text(path: Path, limit: int = TABLE_BYTES) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; or in UTF-16 with one, as spreadsheets and PowerShell write."""
    text = _text(_as_utf8(read_bytes(path, limit), path), path).removeprefix(_MARK)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}, line {line}: has a zero character, as UTF-16 without a byte order mark has; save it as UTF-8")
    return text


def read_json(path: Path, schema: Schema = None) -> Any:
    """The value of a JSON file, its objects as `Record`.

    One with a byte order mark is refused: the libraries that load models do not read it.
    """
    text = _text(read_bytes(path), path)
    if text.startswith(_MARK):
        raise InputError(f"{path} begins with a byte order mark, which JSON does not have; save it as UTF-8 without one")
    value = parse_json(text, str(path), record=True)
    check_schema(value, schema, str(path))
    return value


def read_object(path: Path, schema: Schema = None) -> dict[str, Any]:
    """The object of a JSON file, as a `Record`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {_short(value)}; expected a JSON object, {{...}}")
    check_schema(value, schema, str(path))
    return value


def parse_json(text: str | bytes, where: str, unique: bool = False, record: bool = False) -> Any:
    """The value of a JSON text; `where` is what errors call it.

    `unique`: an object that names a key twice is refused. `record`: objects become `Record`.
    """
    make = partial(Record, where=where) if record else None
    try:
        text = text.decode() if isinstance(text, bytes) else text
        containers = text.count("[") + text.count("{")
        if containers > CONTAINERS:
            raise InputError(f"{where} has {containers} lists and objects; expected at most {CONTAINERS}")
        value = json.loads(text, object_pairs_hook=_unique if unique else make)
    except RecursionError:
        raise InputError(f"{where} is nested too deeply; expected at most {DEPTH} levels") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: not JSON in UTF-8 ({error}); correct or replace it") from None
    if containers > DEPTH or _HALF.search(text):  # most texts need no look at each value
        check_values(value, where)
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, with or without a byte order mark."""
    text = read_text(path, TOML_BYTES)
    if _chained(text):
        raise InputError(f"{path} is nested too deeply; expected at most {DEPTH} levels")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; expected at most {DEPTH} levels") from None
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise InputError(f"{path}: not valid TOML: {error}; write texts in double quotes and lists in square brackets") from None
    check_values(tables, str(path))
    return tables


def read_objects(path: Path, limit: int = TABLE_BYTES, torn: bool = False, schema: Schema = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a .jsonl file with the number of their line. `torn`: a last line that is not complete is left out."""
    data, most = _as_utf8(read_bytes(path, limit), path), ENTRIES if limit == TABLE_BYTES else RECORDS
    if data.count(b"\n") > most:
        raise InputError(f"{path} has more than {most} lines; split it")
    lines = data.removeprefix(_MARK.encode()).split(b"\n")  # not splitlines: U+2028 in a prompt ends no line
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if len(line) > LINE_BYTES:
            raise InputError(f"{where} has {len(line)} bytes; expected at most {LINE_BYTES}")
        try:
            value = parse_json(line, where, record=True)
        except InputError:
            if torn and number == len(lines):
                return
            raise
        if not isinstance(value, dict):
            raise InputError(f'{where}: {_short(value)} is not an object; expected {{"name": value, ...}}')
        check_schema(value, schema, where)
        yield number, value


def check_values(value: Any, where: str) -> None:
    """InputError for values that are nested too deeply, and for texts that are no Unicode (half a surrogate pair)."""
    level: list[Any] = [value]
    for _ in range(DEPTH + 1):
        texts = (item for item in level if isinstance(item, str))
        if any(_LONE.search(text) for text in texts):
            raise InputError(f"{where} has a text with half a surrogate pair, which is no character; correct the text")
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [inner for item in containers for inner in _inner(item)]
    raise InputError(f"{where} is nested too deeply; expected at most {DEPTH} levels")


def _chained(text: str) -> bool:
    """Whether TOML has a key of very many parts, a.b.c...: the time that its parser takes is quadratic in their number."""
    for line in (line for line in text.split("\n") if line.count(".") > 2 * DEPTH):
        chain = 0
        for part in line.split("."):
            word = part.strip(" \t")
            chain = chain + 1 if word and not _BREAK.search(word) else 0
            if chain >= 2 * DEPTH:
                return True
    return False


def _inner(item: Any) -> Iterable[Any]:
    return [*item, *item.values()] if isinstance(item, dict) else item


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"it names {name[:80]!r} twice")
        values[name] = value
    return values


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not text in UTF-8 (line {line}: {error.reason} at byte {error.start}); save it as UTF-8") from None


def _as_utf8(data: bytes, path: Path) -> bytes:
    """Text that begins with a byte order mark of UTF-16 in UTF-8; other bytes as they are."""
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data
    try:
        return data.decode("utf-16").encode()
    except UnicodeError as error:
        raise InputError(f"{path} begins as UTF-16 and is not ({error}); save it as UTF-8") from None


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else "a list" if isinstance(value, list) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
