"""A prompt set of a user's own: a CSV file into prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from erase.concepts.concept import ROLES, Prompt
from erase.concepts.english import hint
from erase.errors import InputError
from erase.files.tables import read_table


def read_prompt_csv(path: Path) -> list[Prompt]:
    """A prompt set: a CSV file with the columns prompt, role and seed; other columns become attributes where they are filled."""
    try:
        columns, table = read_table(path, [("prompt", "role", "seed")])
        for column in ("prompt", "role", "seed"):
            if columns.count(column) != 1:
                problem = "is there twice" if column in columns else "is missing"
                raise InputError(f'{path}: the column "{column}" {problem}; the first line must name prompt, role and seed')
        rows = [_csv_prompt(columns, cells, index, f"{path}, line {line}") for index, (line, cells) in enumerate(table)]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such prompt set; give a CSV file with the columns prompt, role and seed") from None
    if not rows:
        raise InputError(f"{path}: has no prompts, only the line with the columns")
    return rows


def _csv_prompt(columns: Sequence[str], cells: Sequence[str], index: int, where: str) -> Prompt:
    if len(cells) != len(columns):
        raise InputError(f"{where}: the number of cells differs from the number of columns; put a prompt with a comma in double quotes")
    row = dict(zip(columns, cells, strict=True))
    text, role, seed = row.pop("prompt").strip(), row.pop("role").strip(), row.pop("seed").strip()
    if not text:
        raise InputError(f"{where}: the prompt is empty")
    if role not in ROLES:
        raise InputError(f'{where}: the role is "{role}"{hint(role, ROLES)}; allowed: {", ".join(ROLES)}')
    if not re.fullmatch(r"[0-9]{1,18}", seed):
        raise InputError(f'{where}: the seed is "{seed}"; expected a whole number from 0, of at most 18 digits')
    return Prompt(text, role, index, attributes={k: v.strip() for k, v in row.items() if v.strip()}, seed=int(seed))
