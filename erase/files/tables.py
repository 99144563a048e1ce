"""Tables of text: cells of CSV and TSV files read within bounds, and cells written so that a spreadsheet runs none of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files.reading import ENTRIES, FIELD, TABLE_BYTES, read_text

_RUN = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet take a text for a formula


def read_rows(path: Path, delimiter: str = ",", strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table in UTF-8 that have cells, each with the number of its first line.

    InputError, with the line, for what is not a table (`strict`: also for a quotation mark that is never closed), for a cell of more
    than FIELD characters and for more than ENTRIES rows.
    """
    reader = csv.reader(io.StringIO(read_text(path, TABLE_BYTES), newline=""), delimiter=delimiter, strict=strict)
    line, count = 1, 0
    try:
        for cells in reader:
            if cells:
                count += 1
                if long := next((cell for cell in cells if len(cell) > FIELD), None):
                    raise InputError(f"{path}, line {line}: a cell has {len(long)} characters; expected at most {FIELD}")
                if count > ENTRIES + 1:
                    raise InputError(f"{path} has more than {ENTRIES} rows; split it")
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: is not a table ({error}); look for a quotation mark that is never closed") from None


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
