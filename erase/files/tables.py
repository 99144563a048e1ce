"""Tables of text: cells of CSV and TSV files read within bounds, and cells written so that a spreadsheet runs none of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from erase.errors import InputError
from erase.files.reading import ENTRIES, FIELD, TABLE_BYTES, read_text

_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's own first line
_RUN = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet take a text for a formula


class Table(NamedTuple):
    """The columns of a table, and its rows: the number of each row's first line, and its cells."""

    columns: list[str]
    rows: Iterator[tuple[int, list[str]]]


def read_table(path: Path, expected: Iterable[Collection[str]], strict: bool = False) -> Table:
    """A table as spreadsheets write it: UTF-8 or UTF-16, separated by commas, semicolons or tabs, perhaps with a line `sep=;`.

    The separator is the one that gives all of the columns of one of `expected`, and a comma where none does; of a .tsv file, the tab.
    Empty columns at the end and rows without content are left out. Whatever else does not fit the columns is left to the caller,
    because its meaning is not clear. InputErrors as `read_rows`.
    """
    text = read_text(path, TABLE_BYTES)
    marked = _SEPARATOR.match(text)
    candidates = [marked[1]] if marked else ["\t"] if path.suffix.lower() == ".tsv" else [",", ";", "\t"]
    body = text[marked.end() :] if marked else text
    heads = {each: set(_head(path, body, each)) for each in candidates}
    fitting = [each for each in candidates if any(set(names) <= heads[each] for names in expected)]
    rows = _rows(path, body, (fitting or candidates)[0], strict, 2 if marked else 1)
    columns = _columns(next(rows, (1, []))[1])
    return Table(columns, _fitted(rows, len(columns)))


def read_rows(path: Path, delimiter: str = ",", strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table that have cells, each with the number of its first line.

    InputError, with the line, for what is not a table (`strict`: also for a quotation mark that is never closed), for a cell of more
    than FIELD characters and for more than ENTRIES rows.
    """
    return _rows(path, read_text(path, TABLE_BYTES), delimiter, strict)


def _rows(path: Path, text: str, delimiter: str, strict: bool, line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text whose first line has this number in its file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    before, count = line, 0
    try:
        for cells in reader:
            if cells:
                count += 1
                if long := next((cell for cell in cells if len(cell) > FIELD), None):
                    raise InputError(f"{path}, line {line}: a cell has {len(long)} characters; expected at most {FIELD}")
                if count > ENTRIES + 1:
                    raise InputError(f"{path} has more than {ENTRIES} rows; split it")
                yield line, cells
            line = before + reader.line_num
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: is not a table ({error}); look for a quotation mark that is never closed") from None


def _head(path: Path, text: str, delimiter: str) -> list[str]:
    """The columns that a separator gives; none where the first line cannot be read with it."""
    try:
        return _columns(next(_rows(path, text, delimiter, strict=False), (1, []))[1])
    except InputError:
        return []


def _columns(cells: Sequence[str]) -> list[str]:
    """The names in the first line, without empty ones at its end."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _fitted(rows: Iterator[tuple[int, list[str]]], width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with content, without empty cells beyond the columns."""
    for line, cells in rows:
        if any(cell.strip() for cell in cells):
            yield line, cells[:width] if not any(cell.strip() for cell in cells[width:]) else cells


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV of these columns, absent values empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return buffer.getvalue()


def cell(value: Any) -> Any:
    """A value of a CSV as a spreadsheet takes it for text: what it would run gets an apostrophe in front. Numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_RUN) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
