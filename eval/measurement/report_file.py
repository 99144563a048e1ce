"""report.json, read and checked: every number in it is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erase.files import read_object
from erase.files.schema import check_schema

METRIC = {"value": float, "low": float, "high": float, "n": int}
REPORT = {
    "concept": str, "model": str, "method": str, "preset": str, "command": str,
    "protocol": {"detector": dict, "prompts": {"roles": {...: int}}, "deviations": list, "seeds": list, "budget_seconds": float},
    "before": dict, "after": dict, "paired": {...: {"difference": float, "low": float, "high": float}},
    "seconds": {...: float}, "peak_bytes": int, "not_measured": dict,
}  # fmt: skip


def read_report(path: Path) -> dict[str, Any]:
    """The report of a run or an evaluation; InputError for a file that is not one."""
    report = read_object(path, REPORT)
    for which in ("before", "after"):
        for name, metric in (report.get(which) or {}).items():
            if isinstance(metric, dict) and "value" in metric:
                check_schema(metric, METRIC, str(path), f"{which}.{name}")
    return report
