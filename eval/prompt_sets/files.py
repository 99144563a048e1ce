"""Prompt files -> rows, as their authors publish them: CSV, TSV and JSONL with columns, and plain text with one prompt per line.

What pandas leaves in a file is read as pandas' users meant it: an index column without a name, a seed "3.0", an empty prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files.reading import ENTRIES, FIELD, read_objects, read_text
from erase.files.tables import read_table
from eval.samples import ROLES, Row
from eval.toml_schema import hint

KINDS = (".csv", ".tsv", ".txt", ".jsonl")  # a .txt is a table where its first line has columns, as spreadsheets write Unicode
PROMPTS = ("prompt", "adv_prompt", "adversarial_prompt", "sensitive prompt", "text")  # what published files call them
SEEDS = ("evaluation_seed", "sd_seed", "seed")
GUIDANCE = ("evaluation_guidance", "sd_guidance_scale", "guidance")
EMPTY = "nan"  # what published scripts draw for an empty cell: pandas reads NaN, and they take its text
_INDEX = re.compile(r"Unnamed: \d+")  # of pandas


@dataclass(frozen=True)
class Columns:
    """The names that a file may give its columns; the first that it has counts. Without `seed` every seed is 0."""

    prompt: Sequence[str] = ("prompt",)
    seed: Sequence[str] = ()
    guidance: Sequence[str] = ()
    role: str | None = None


@dataclass(frozen=True)
class PromptFile:
    """The rows of a file, the columns that they are from (None: the file has no such column), and how many prompts were empty."""

    rows: list[Row]
    prompt: str
    seed: str | None = None
    guidance: str | None = None
    empty: int = 0


def read_prompt_file(path: Path, columns: Columns, role: str = "evaluate") -> PromptFile:
    """A .csv, .tsv, .jsonl or .txt file in UTF-8. Values of other columns, unless empty, are attributes.

    A row with a guidance scale of its own has it under "guidance". An empty prompt of a table is drawn as the text EMPTY, as published
    scripts do. InputError with file and line for a missing column of prompts, a column of seeds that is misspelt, a prompt that is no
    text, a seed that is not a whole number, a scale that is not a number from 0, and a row with another number of cells.
    """
    rows: list[Row] = []
    names: _Names | None = None
    empty = 0
    for where, record in _records(path, columns.prompt):
        names = names or _names(path, columns, list(record))
        if record.get(names.prompt) == "" and path.suffix.lower() != ".jsonl":
            record, empty = {**record, names.prompt: EMPTY}, empty + 1
        rows.append(_row(where, record, len(rows), names, role))
    if not rows or names is None:
        raise InputError(f"{path}: has no prompts; expected one line per prompt, below the line with the columns")
    if empty == len(rows):
        raise InputError(f'{path}: every prompt (column "{names.prompt}") is empty; give another file')
    return PromptFile(rows, names.prompt, names.seed, names.guidance, empty)


def read_prompt_set(
    path: Path,
    prompt_column: str = "prompt",
    seed_columns: Sequence[str] = (),
    role: str = "evaluate",
    role_column: str | None = None,
) -> list[Row]:
    """The rows of a prompt file with this column of prompts; errors as `read_prompt_file`."""
    return read_prompt_file(path, Columns((prompt_column,), seed_columns, role=role_column), role).rows


# --- columns --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Names:
    prompt: str
    seed: str | None
    guidance: str | None
    role: str | None


def _names(path: Path, accepted: Columns, columns: Sequence[str]) -> _Names:
    """The columns that are used. A file may have no seeds, but a column that is nearly one of those expected is a mistake."""
    prompt, role = _column(path, accepted.prompt, columns), accepted.role and _column(path, [accepted.role], columns)
    seed = named(accepted.seed, columns)
    others = [column for column in columns if column not in (prompt, role, *GUIDANCE)]
    if seed is None and any(hint(name, others) for name in accepted.seed):
        _column(path, accepted.seed, columns)
    return _Names(prompt, seed, named(accepted.guidance, columns), role)


def named(accepted: Sequence[str], columns: Sequence[str]) -> str | None:
    """The first of the accepted names that is a column, perhaps with a capital letter."""
    return next((name for each in accepted for name in (each, each.capitalize()) if name in columns), None)


def _column(path: Path, accepted: Sequence[str], columns: Sequence[str]) -> str:
    """The first of the accepted columns; InputError where the file has none."""
    name = named(accepted, columns)
    if name is None:
        expected = " or ".join(f'"{column}"' for column in accepted)
        close = next(filter(None, (hint(column, columns) for column in accepted)), "")
        raise InputError(
            f"{path}: has no column {expected}{close}; it has {', '.join(columns) or 'none'}: rename one, or give another file"
        )
    return name


# --- rows -----------------------------------------------------------------------------------------------------------


def _row(where: str, record: Mapping[str, Any], index: int, names: _Names, role: str) -> dict[str, Any]:
    text = record.get(names.prompt)
    role = str(record.get(names.role, "")).strip() if names.role else role
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where}: the prompt (column "{names.prompt}") is empty or not a text; every row needs one')
    if role not in ROLES:
        raise InputError(f'{where}: the role (column "{names.role}") is "{role}"{hint(role, ROLES)}; allowed: {", ".join(ROLES)}')
    seed = _seed(where, names.seed, record.get(names.seed, "")) if names.seed else 0
    scale = _scale(where, names.guidance, record.get(names.guidance)) if names.guidance else None
    nested = record.get("attributes")
    used = {name for name in (names.prompt, names.seed, names.guidance, names.role, "attributes", "index", "") if name is not None}
    others = {name: value for name, value in record.items() if name not in used and not _INDEX.fullmatch(name)}
    others |= nested if isinstance(nested, dict) else {}
    attributes = {name: str(value).strip() for name, value in others.items() if value is not None and str(value).strip()}
    row = {"index": index, "text": text.strip(), "role": role, "attributes": attributes, "seed": seed}
    return row if scale is None else row | {"guidance": scale}


def _seed(where: str, column: str, value: Any) -> int:
    """A whole number, also as pandas writes a column that had gaps: "3.0"."""
    match = None if isinstance(value, bool) else re.fullmatch(r"([0-9]{1,18})(\.0+)?", str(value).strip())
    if match is None:
        raise InputError(f'{where}: the seed (column "{column}") is "{value}"; expected a whole number from 0, of at most 18 digits')
    return int(match[1])


def _scale(where: str, column: str, value: Any) -> float | None:
    """A guidance scale; None where the cell is empty."""
    if value is None or not str(value).strip():
        return None
    try:
        scale = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        scale = math.nan
    if not 0 <= scale < math.inf:
        raise InputError(f'{where}: the guidance (column "{column}") is "{value}"; expected a number from 0')
    return scale


# --- files ----------------------------------------------------------------------------------------------------------


def _records(path: Path, expected: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place of each record ("file, line 7"), and its columns with their values; one of the columns is `expected`."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path}: is of an unknown kind; expected a prompt set that ends in {', '.join(KINDS)}")
    try:
        if kind == ".jsonl":
            yield from ((f"{path}, line {number}", record) for number, record in read_objects(path))
        elif kind == ".txt" and not _has_columns(text := read_text(path), expected):
            yield from _lines(path, text, expected[0])
        else:
            yield from _table(path, expected)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such prompt set; give the path of a file that ends in {', '.join(KINDS)}") from None


def _has_columns(text: str, expected: Sequence[str]) -> bool:
    """Whether the first line of a text is that of a table: it has tabs, or the name of an expected column or one close to it."""
    head = text.lstrip().split("\n", 1)[0]
    cells = [cell.strip().strip('"') for cell in re.split(r"[,;\t]", head)]
    return "\t" in head or head.lower().startswith("sep=") or any(hint(name, cells) for name in expected)


def _lines(path: Path, text: str, column: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """One prompt per line."""
    lines = text.splitlines() if "\n" not in text else text.split("\n")
    if len(lines) > ENTRIES + 1:
        raise InputError(f"{path} has more than {ENTRIES} rows; split it")
    for number, line in enumerate(lines, 1):
        if len(line) > FIELD:
            raise InputError(f"{path}, line {number}: has {len(line)} characters; expected at most {FIELD}")
        if line.strip():
            yield f"{path}, line {number}", {column: line.strip()}


def _table(path: Path, expected: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [name for each in expected for name in (each, each.capitalize())]
    columns, rows = read_table(path, [{name} for name in names], strict=True)
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise InputError(f'{path}: names the column "{twice[0]}" twice; rename one of the two')
    if _is_prompt(columns, expected):
        first, columns = columns[0], [expected[0]]
        yield f"{path}, line 1", {expected[0]: first}
    for line, cells in rows:
        if len(cells) != len(columns):
            what = f"{path}, line {line}: has {len(cells)} cells for {len(columns)} columns"
            raise InputError(f"{what}; a prompt with a separator or a line break must be in double quotes")
        yield f"{path}, line {line}", dict(zip(columns, cells, strict=True))


def _is_prompt(columns: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether the first line of a table is a prompt already: the only cell, of several words, and not nearly the name of a column."""
    return len(columns) == 1 and " " in columns[0] and not any(hint(name, columns) for name in expected)
