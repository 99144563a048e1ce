"""What several commands print alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in widths}, *rows]:
        print("  ".join(f"{row[key]!s:{width}}" for key, width in widths.items()).rstrip())


def results(folder: Path) -> str:
    return f"pictures  {folder / 'comparison.png'}\nreport    {folder / 'report.html'}"
