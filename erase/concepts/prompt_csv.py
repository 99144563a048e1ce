"""A prompt set of a user's own: a CSV file into prompts."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from erase.concepts.concept import ROLES, Prompt
from erase.concepts.english import hint
from erase.errors import InputError


def read_prompt_csv(path: Path) -> list[Prompt]:
    """A prompt set: a CSV file with the columns prompt, role and seed; other columns become attributes where they are filled."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            for column in ("prompt", "role", "seed"):
                if column not in columns:
                    raise InputError(f'{path}: the column "{column}" is missing; the first line must name prompt, role and seed')
            rows = [_csv_prompt(row, index, f"{path}, line {reader.line_num}") for index, row in enumerate(reader)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such prompt set; give a CSV file with the columns prompt, role and seed") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None
    if not rows:
        raise InputError(f"{path}: has no prompts, only the line with the columns")
    return rows


def _csv_prompt(row: dict[str | Any, Any], index: int, where: str) -> Prompt:
    if None in row or None in row.values():
        raise InputError(f"{where}: the number of cells differs from the number of columns; put a prompt with a comma in double quotes")
    text, role, seed = row.pop("prompt").strip(), row.pop("role").strip(), row.pop("seed").strip()
    if not text:
        raise InputError(f"{where}: the prompt is empty")
    if role not in ROLES:
        raise InputError(f'{where}: the role is "{role}"{hint(role, ROLES)}; allowed: {", ".join(ROLES)}')
    if not re.fullmatch(r"[0-9]+", seed):
        raise InputError(f'{where}: the seed is "{seed}"; expected a whole number that is not negative')
    return Prompt(text, role, index, attributes={k: v.strip() for k, v in row.items() if v.strip()}, seed=int(seed))
